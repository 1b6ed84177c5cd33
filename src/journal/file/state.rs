//! State shared by the journal's handles and its writer thread: the hash secret, the clocks, and completeness.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;

use super::settings::MonotonicClock;

/// For this long after creation a missing record proves nothing: by then the broker has redelivered everything older.
const DOUBT_MS: i64 = 3_600_000;

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
    /// Records that were lost or removed early would have been needed until this time, in ms since 1970.
    incomplete_until_ms: AtomicI64,
}

impl FileJournalState {
    pub(super) fn new(secret: [u8; 16], now: Box<WallClock>, elapsed: Arc<MonotonicClock>) -> Self {
        let opened_at = (now(), elapsed());
        let incomplete_until_ms = AtomicI64::new(i64::MIN);
        Self { secret, now, elapsed, opened_at, is_shared_queue: AtomicBool::new(false), incomplete_until_ms }
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

    pub(super) fn is_complete(&self) -> bool {
        let until_ms = self.incomplete_until_ms.load(Ordering::Relaxed);
        !self.is_shared_queue.load(Ordering::Relaxed) && self.capped_now().as_millisecond() > until_ms
    }

    /// Starts the period of doubt of a new journal, or of one with a missing segment.
    pub(super) fn begin_doubt(&self) {
        self.set_incomplete_until(self.now().as_millisecond().saturating_add(DOUBT_MS));
    }

    /// Extends the incomplete period to this time, in ms since 1970.
    pub(super) fn set_incomplete_until(&self, until_ms: i64) {
        self.incomplete_until_ms.fetch_max(until_ms, Ordering::Relaxed);
    }

    pub(super) fn set_shared_queue(&self) {
        self.is_shared_queue.store(true, Ordering::Relaxed);
    }
}
