//! Dead letters that are being published, so that a redelivered copy of the command does not publish a second one.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use crate::{domain::journal::SendKey, sync::lock};

/// The sends whose dead letter this daemon is publishing.
#[derive(Clone, Default)]
pub(super) struct DeadLetterClaims(Arc<Mutex<HashSet<SendKey>>>);

/// The exclusive right to publish the dead letter of one send, until dropped.
pub(super) struct DeadLetterClaim {
    claims: DeadLetterClaims,
    send_key: SendKey,
}

impl DeadLetterClaims {
    /// `None` while another task holds the claim.
    pub(super) fn try_claim(&self, send_key: &SendKey) -> Option<DeadLetterClaim> {
        let is_free = lock(&self.0).insert(send_key.clone());
        is_free.then(|| DeadLetterClaim { claims: self.clone(), send_key: send_key.clone() })
    }
}

impl Drop for DeadLetterClaim {
    fn drop(&mut self) {
        lock(&self.claims.0).remove(&self.send_key);
    }
}
