//! The registry of this process's attempts, and of starts whose replies were lost.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Mutex,
};

use crate::{domain::journal::SendKey, sync::lock};

/// The attempts of this process; shared by all clones of a journal.
#[derive(Debug, Default)]
pub(super) struct AttemptRegistry {
    table: Mutex<AttemptTable>,
}

#[derive(Debug, Default)]
struct AttemptTable {
    /// The number of the last start.
    last_number: u64,
    /// Attempts in progress or being started, by the number of their start.
    in_progress: HashMap<SendKey, u64>,
    /// Starts that may be on record, now or later, without an attempt. They must be withdrawn.
    unconfirmed: HashMap<SendKey, u64>,
}

impl AttemptRegistry {
    /// Claims the send for one start; `None` if this process already has an attempt in progress.
    pub(super) fn claim(&self, key: &SendKey) -> Option<AttemptClaim<'_>> {
        let mut table = lock(&self.table);
        let number = table.last_number + 1;
        let Entry::Vacant(entry) = table.in_progress.entry(key.clone()) else { return None };
        entry.insert(number);
        table.last_number = number;
        Some(AttemptClaim { registry: self, key: key.clone(), number, is_resolved: false })
    }

    /// The number of the start of an attempt in progress.
    pub(super) fn start_number(&self, key: &SendKey) -> Option<u64> {
        lock(&self.table).in_progress.get(key).copied()
    }

    /// Removes an attempt whose end is on record.
    pub(super) fn remove(&self, key: &SendKey) {
        lock(&self.table).in_progress.remove(key);
    }

    /// Takes the starts that must be withdrawn.
    pub(super) fn take_unconfirmed(&self) -> HashMap<SendKey, u64> {
        std::mem::take(&mut lock(&self.table).unconfirmed)
    }

    /// Adds a start that must be withdrawn.
    pub(super) fn add_unconfirmed(&self, key: SendKey, number: u64) {
        let mut table = lock(&self.table);
        let unconfirmed = table.unconfirmed.entry(key).or_default();
        *unconfirmed = number.max(*unconfirmed);
    }
}

/// The right to start an attempt. If it is dropped unresolved, as by a cancelled caller, its start must be withdrawn.
#[derive(Debug)]
pub(super) struct AttemptClaim<'a> {
    registry: &'a AttemptRegistry,
    key: SendKey,
    number: u64,
    is_resolved: bool,
}

impl AttemptClaim<'_> {
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Resolves the claim: the start is on record.
    pub(super) fn confirm(mut self) {
        self.is_resolved = true;
    }

    /// Resolves the claim: the start is not on record and never will be.
    pub(super) fn release(mut self) {
        self.is_resolved = true;
        self.registry.remove(&self.key);
    }
}

impl Drop for AttemptClaim<'_> {
    fn drop(&mut self) {
        if !self.is_resolved {
            self.registry.remove(&self.key);
            self.registry.add_unconfirmed(self.key.clone(), self.number);
        }
    }
}
