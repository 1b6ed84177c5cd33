//! Outcomes that are being published, so that a redelivered copy of the command does not publish them, too.

use std::sync::{Arc, Mutex};

use rustc_hash::FxHashSet;

use crate::sync::lock;

/// The commands whose outcome this daemon is publishing, by [identity](super::command_in_hand::CommandInHand::identity).
#[derive(Clone, Default)]
pub(super) struct OutcomeClaims(Arc<Mutex<FxHashSet<u64>>>);

/// The exclusive right to publish the outcome of one command, until dropped.
pub(super) struct OutcomeClaim {
    claims: OutcomeClaims,
    identity: u64,
}

impl OutcomeClaims {
    /// `None` while another task holds the claim.
    pub(super) fn try_claim(&self, identity: u64) -> Option<OutcomeClaim> {
        let is_free = lock(&self.0).insert(identity);
        is_free.then(|| OutcomeClaim { claims: self.clone(), identity })
    }
}

impl Drop for OutcomeClaim {
    fn drop(&mut self) {
        lock(&self.claims.0).remove(&self.identity);
    }
}
