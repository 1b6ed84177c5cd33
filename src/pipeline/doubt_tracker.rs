//! Which redelivered commands are in doubt while the journal may lack records, and when that doubt ends.
//!
//! The broker delivers returned messages before first deliveries. So once it has made a first delivery at a time when only
//! this daemon consumed the queue, everything that was delivered to anybody before this daemon started has come again.
//! When each of those commands has a record, the journal is complete.

use std::sync::Mutex;

use rustc_hash::FxHashMap;

use crate::{
    domain::journal::Doubt,
    ports::{Delivery, Journal},
    sync::lock,
};

/// Of more commands it is not known that they were not posted before, so they are in doubt when they come again.
const MAX_UNPOSTED: usize = 1 << 16;

/// The deliveries of this process during the journal's doubt.
#[derive(Default)]
pub(super) struct DoubtTracker(Mutex<TrackedDeliveries>);

#[derive(Default)]
struct TrackedDeliveries {
    /// Commands that this process was the first to receive and has not claimed, with the session of the latest delivery.
    unposted: FxHashMap<u64, u64>,
    /// Commands in doubt whose record is not durable yet.
    unrecorded: usize,
    /// Everything from before this process has been delivered again.
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

    /// The doubt about a command is on record.
    pub(super) fn doubt_recorded(&self, journal: &impl Journal) {
        let mut tracked = lock(&self.0);
        tracked.unrecorded = tracked.unrecorded.saturating_sub(1);
        tracked.end_doubt(journal);
    }
}

impl TrackedDeliveries {
    fn receive(&mut self, delivery: &Delivery, identity: Option<u64>, doubt: Doubt) -> bool {
        let generation = delivery.tag.generation;
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
        // A message comes once in a session: a second one is another message with the same id.
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
