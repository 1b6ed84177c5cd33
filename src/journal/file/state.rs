//! State shared by the journal's handles and its writer thread: the hash secret, the clocks, and completeness.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;

use super::{header::JournalHeader, settings::MonotonicClock};
use crate::domain::journal::Doubt;

/// A wall clock.
pub(super) type WallClock = dyn Fn() -> Timestamp + Send + Sync;

/// State shared by the handles and the writer.
pub(super) struct FileJournalState {
    /// The secret of the key hashes.
    pub(super) secret: [u8; 16],
    now: Box<WallClock>,
    elapsed: Arc<MonotonicClock>,
    /// Both clocks at opening.
    opened_at: (Timestamp, Duration),
    /// Other daemons consume from the same queue, and their attempts are not recorded here.
    is_shared_queue: AtomicBool,
    /// The doubt at opening, with its end in ms since 1970: records of former processes may be missing.
    former_doubt_until_ms: AtomicI64,
    /// The end of former doubt is requested and not yet durable.
    is_ending: AtomicBool,
    /// Records that were removed early would have been kept until this time, in ms since 1970.
    dropped_until_ms: AtomicI64,
}

impl FileJournalState {
    pub(super) fn new(header: &JournalHeader, now: Box<WallClock>, elapsed: Arc<MonotonicClock>) -> Self {
        Self {
            secret: header.secret,
            opened_at: (now(), elapsed()),
            now,
            elapsed,
            is_shared_queue: AtomicBool::new(false),
            former_doubt_until_ms: AtomicI64::new(header.doubt_until_ms),
            is_ending: AtomicBool::new(false),
            dropped_until_ms: AtomicI64::new(i64::MIN),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// The time for computing ages: the wall clock, capped by the monotonic time since opening. Otherwise a wall clock
    /// that is set ahead would expire everything at once.
    pub(super) fn capped_now(&self) -> Timestamp {
        let (opened_at, opened_elapsed) = self.opened_at;
        let reached = opened_at.checked_add((self.elapsed)().saturating_sub(opened_elapsed));
        reached.unwrap_or(Timestamp::MAX).min(self.now())
    }

    pub(super) fn doubt(&self) -> Doubt {
        let until_ms = self.former_doubt_until_ms.load(Ordering::Relaxed).max(self.dropped_until_ms());
        if self.is_shared_queue() {
            Doubt::SharedQueue
        } else if until_ms > i64::MIN && self.capped_now().as_millisecond() <= until_ms {
            Doubt::SoleOwner
        } else {
            Doubt::None
        }
    }

    /// Why the journal is in doubt, if it is.
    pub(super) fn doubt_reason(&self) -> Option<&'static str> {
        match self.doubt() {
            Doubt::None => None,
            Doubt::SharedQueue => Some("other daemons consume the queue, and their attempts are not recorded here"),
            Doubt::SoleOwner if self.dropped_until_ms() > i64::MIN => Some("records were removed before their time"),
            Doubt::SoleOwner => Some(
                "it is new, lacks records or shared the queue with other daemons, and the broker may still redeliver \
                 commands that were sent without a record here",
            ),
        }
    }

    /// Whether the writer should end the former doubt: there is some, and no earlier request is pending.
    pub(super) fn may_end_former_doubt(&self) -> bool {
        let is_in_doubt = self.former_doubt_until_ms.load(Ordering::Relaxed) > i64::MIN && !self.is_shared_queue();
        is_in_doubt && !self.is_ending.swap(true, Ordering::Relaxed)
    }

    /// The request to end the former doubt was served: it has ended, or may be requested again.
    pub(super) fn former_doubt_served(&self, has_ended: bool) {
        if has_ended {
            self.former_doubt_until_ms.store(i64::MIN, Ordering::Relaxed);
        }
        self.is_ending.store(false, Ordering::Relaxed);
    }

    pub(super) fn dropped_until_ms(&self) -> i64 {
        self.dropped_until_ms.load(Ordering::Relaxed)
    }

    /// Records were removed that would have been kept until this time, in ms since 1970.
    pub(super) fn set_dropped_until(&self, until_ms: i64) {
        self.dropped_until_ms.fetch_max(until_ms, Ordering::Relaxed);
    }

    pub(super) fn is_shared_queue(&self) -> bool {
        self.is_shared_queue.load(Ordering::Relaxed)
    }

    pub(super) fn set_shared_queue(&self) {
        self.is_shared_queue.store(true, Ordering::Relaxed);
    }
}
