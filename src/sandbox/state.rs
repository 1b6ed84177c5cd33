//! The state that all requests share.

use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

use tokio_util::sync::CancellationToken;

use super::{options::Options, received::ReceivedLog, script::RuleQueue, token::AcceptedTokens};
use crate::sync::lock;

/// The state that all requests share.
pub(super) struct SandboxState {
    pub(super) options: Options,
    pub(super) tokens: AcceptedTokens,
    pub(super) script: RuleQueue,
    received: Mutex<ReceivedLog>,
    last_message_id: AtomicU64,
    /// Cancelled when the sandbox stops: hanging requests end.
    pub(super) stopping: CancellationToken,
    /// Cancelled when the grace period is over: delayed requests end.
    pub(super) stopped: CancellationToken,
}

impl SandboxState {
    pub(super) fn new(mut options: Options) -> Self {
        Self {
            tokens: AcceptedTokens::new(options.token.take()),
            script: RuleQueue::new(options.seed),
            received: Mutex::new(ReceivedLog::new(options.keep)),
            last_message_id: AtomicU64::new(0),
            stopping: CancellationToken::new(),
            stopped: CancellationToken::new(),
            options,
        }
    }

    pub(super) fn received(&self) -> MutexGuard<'_, ReceivedLog> {
        lock(&self.received)
    }

    pub(super) fn next_message_id(&self) -> u64 {
        self.last_message_id.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }
}
