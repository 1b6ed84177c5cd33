//! How long a command may wait.

use std::time::Duration;

use jiff::Timestamp;

use super::{Shared, attempt::End, journey::Journey};
use crate::{
    domain::command::Command,
    ports::{Clock, Ports},
};

impl<P: Ports> Shared<P> {
    /// Waits, unless the daemon shuts down meanwhile.
    pub(super) async fn wait(&self, wait: Duration) -> Result<(), End> {
        tokio::select! {
            biased;
            () = self.drain.cancelled() => Err(End::Released),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    /// No attempt starts after it: the command's own, else the default counted from when it was made.
    pub(super) fn deadline(&self, command: &Command, journey: &Journey) -> Option<Timestamp> {
        let by_default = || journey.made_at.unwrap_or(journey.first_seen).checked_add(self.rules.default_ttl?).ok();
        command.expires_at.or_else(by_default)
    }

    /// Resolves when the deadline has passed.
    pub(super) async fn passes(&self, deadline: Option<Timestamp>) {
        let Some(deadline) = deadline else { return std::future::pending().await };
        // Negative when it has passed already.
        if let Ok(left) = Duration::try_from(deadline.duration_since(self.ports.clock().now())) {
            tokio::time::sleep(left).await;
        }
    }
}
