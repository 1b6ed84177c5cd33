//! Whose dead letters are on their way: the copy of a lost session must not write one again that is just being stored.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::domain::journal::SendKey;

/// The sends whose failure is being told by this daemon.
#[derive(Clone, Default)]
pub(super) struct Telling(Arc<Mutex<HashSet<SendKey>>>);

/// Tells one failure; dropped, it has done so.
pub(super) struct Teller {
    telling: Telling,
    send: SendKey,
}

impl Telling {
    /// The right to tell the failure, or `None` while somebody else does.
    pub(super) fn begin(&self, send: &SendKey) -> Option<Teller> {
        self.sends().insert(send.clone()).then(|| Teller { telling: self.clone(), send: send.clone() })
    }

    fn sends(&self) -> MutexGuard<'_, HashSet<SendKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.telling.sends().remove(&self.send);
    }
}
