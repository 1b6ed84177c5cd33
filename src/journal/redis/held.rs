//! What this process is at: the sends that it started, and the starts whose answers it did not get.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::domain::journal::SendKey;

/// Shared by all clones of a journal.
#[derive(Debug, Default)]
pub(super) struct Held {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The number of the last start.
    last: u64,
    /// Started, or about to be.
    attempts: HashMap<SendKey, u64>,
    /// Their starts may be on record, now or later, and nobody makes the attempt. To be withdrawn.
    doubtful: HashMap<SendKey, u64>,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to start it, unless this process is at it.
    pub(super) fn claim(&self, key: &SendKey) -> Option<Claim<'_>> {
        let mut inner = self.lock();
        let number = inner.last + 1;
        let Entry::Vacant(entry) = inner.attempts.entry(key.clone()) else { return None };
        entry.insert(number);
        inner.last = number;
        Some(Claim { held: self, key: key.clone(), number, known: false })
    }

    /// The number of the start of an attempt under way.
    pub(super) fn number(&self, key: &SendKey) -> Option<u64> {
        self.lock().attempts.get(key).copied()
    }

    /// The attempt is over, and that is on record.
    pub(super) fn over(&self, key: &SendKey) {
        self.lock().attempts.remove(key);
    }

    /// Takes what is to be withdrawn.
    pub(super) fn take_doubtful(&self) -> HashMap<SendKey, u64> {
        std::mem::take(&mut self.lock().doubtful)
    }

    /// It is still to be withdrawn.
    pub(super) fn doubt(&self, key: SendKey, number: u64) {
        let mut inner = self.lock();
        let doubtful = inner.doubtful.entry(key).or_default();
        *doubtful = number.max(*doubtful);
    }
}

/// The right to start a send. Dropped without a word, also by a caller that did not wait, its start is in doubt.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    held: &'a Held,
    key: SendKey,
    number: u64,
    known: bool,
}

impl Claim<'_> {
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// The start is on record.
    pub(super) fn started(mut self) {
        self.known = true;
    }

    /// The start is not on record and never will be.
    pub(super) fn refused(mut self) {
        self.known = true;
        self.held.over(&self.key);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.known {
            self.held.over(&self.key);
            self.held.doubt(self.key.clone(), self.number);
        }
    }
}
