//! Which redelivered commands are in doubt while the journal may lack records, and when that doubt ends.
//!
//! The broker delivers requeued messages before those that it has not delivered yet. So a first delivery, at a time when
//! only this daemon consumes the queue, shows that all deliveries from before this process have been redelivered. Once
//! each of those commands has a record, the journal is complete.

use std::sync::Mutex;

use rustc_hash::FxHashMap;

use crate::{
    domain::journal::Doubt,
    ports::{Delivery, Journal},
    sync::lock,
};

/// Limit of tracked commands. Those beyond it are in doubt when they are redelivered.
const MAX_UNPOSTED: usize = 1 << 16;

/// The deliveries of this process during the journal's doubt.
#[derive(Default)]
pub(super) struct DoubtTracker(Mutex<TrackedDeliveries>);

#[derive(Default)]
struct TrackedDeliveries {
    /// Commands that this process was the first to receive and has not claimed, with the session of the latest delivery;
    /// `None` while a copy is in a tier.
    unposted: FxHashMap<u64, Option<u64>>,
    /// Commands in doubt whose record is not durable yet.
    unrecorded: usize,
    /// All deliveries from before this process have been redelivered.
    all_redelivered: bool,
}

impl DoubtTracker {
    /// Tracks a delivery, in the order of arrival; returns whether it must go on record that an earlier one may have been
    /// posted: the journal's doubt may end before the command is claimed. [`Self::doubt_recorded`] must follow then.
    ///
    /// A generated id is no identity: no record can be found by it.
    pub(super) fn receive(&self, delivery: &Delivery, identity: Option<u64>, journal: &impl Journal) -> bool {
        let doubt = journal.doubt();
        let mut tracked = lock(&self.0);
        if doubt == Doubt::None {
            tracked.unposted = FxHashMap::default();
            return false;
        }
        let must_record = tracked.receive(delivery, identity, doubt);
        tracked.end_doubt(journal);
        must_record
    }

    /// The command is claimed, so from now on it has a record. Returns whether this process was the first to receive it.
    pub(super) fn claim(&self, identity: u64) -> bool {
        let mut tracked = lock(&self.0);
        !tracked.unposted.is_empty() && tracked.unposted.remove(&identity).is_some()
    }

    /// Whether this process was the first to receive the command, and has not claimed it.
    pub(super) fn is_unposted(&self, identity: u64) -> bool {
        lock(&self.0).unposted.contains_key(&identity)
    }

    /// A copy of the command goes to a tier: its next delivery may come in the same session.
    pub(super) fn delay(&self, identity: u64) {
        if let Some(generation) = lock(&self.0).unposted.get_mut(&identity) {
            *generation = None;
        }
    }

    /// The doubt about a command is on record.
    pub(super) fn doubt_recorded(&self, journal: &impl Journal) {
        let mut tracked = lock(&self.0);
        tracked.unrecorded = tracked.unrecorded.saturating_sub(1);
        tracked.end_doubt(journal);
    }
}

impl TrackedDeliveries {
    fn receive(&mut self, delivery: &Delivery, identity: Option<u64>, doubt: Doubt) -> bool {
        let generation = Some(delivery.tag.generation);
        if !delivery.redelivered {
            self.all_redelivered |= delivery.is_sole_consumer;
            if let (Doubt::SoleOwner, Some(identity)) = (doubt, identity)
                && self.unposted.len() < MAX_UNPOSTED
            {
                self.unposted.insert(identity, generation);
            }
            return false;
        }
        let (Doubt::SoleOwner, Some(identity)) = (doubt, identity) else { return false };
        // The broker delivers a message once in a session, so a second delivery is another message with the same id.
        if let Some(before) = self.unposted.get_mut(&identity).filter(|before| **before != generation) {
            *before = generation;
            return false;
        }
        self.unrecorded += 1;
        true
    }

    fn end_doubt(&self, journal: &impl Journal) {
        if self.all_redelivered && self.unrecorded == 0 {
            journal.end_former_doubt();
        }
    }
}
