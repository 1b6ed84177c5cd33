//! Events of a journal for its owner, which logs and counts them and closes the gate. The journal itself does neither.

use std::{path::Path, time::Duration};

use jiff::Timestamp;

/// A change in a journal's state, or a figure for the metrics.
#[derive(Clone, Copy, Debug)]
pub enum JournalEvent<'a> {
    /// A write is durable: a batch in the file journal, one script in Redis.
    Committed {
        /// The duration of the write and the sync, or of the round trip.
        duration: Duration,
    },
    /// The size of the file journal, about once a second.
    Size {
        /// Sends on record, counted once for each segment that has a record of them.
        entries: u64,
        /// Bytes on disk.
        bytes: u64,
    },
    /// The journal cannot be read or written; every call fails until [`JournalEvent::Available`]. Once for each reason.
    Unavailable {
        /// What failed, where, and the remedy.
        reason: &'a str,
    },
    /// The journal can be read and written again.
    Available,
    /// From now on a missing record proves nothing. Once for each reason.
    InDoubt {
        /// Why.
        reason: &'a str,
    },
    /// A missing record proves again that no attempt was started.
    DoubtEnded,
    /// An incomplete batch from before a crash was cut. None of its calls had resolved.
    TornTailCut {
        /// The segment's log.
        path: &'a Path,
        /// The length of the cut tail.
        bytes: u64,
    },
    /// An index was missing or damaged and is rebuilt from its log, which makes opening slower.
    IndexRebuilt {
        /// The index file.
        path: &'a Path,
    },
    /// A segment is missing. Its records are lost, so the journal is not complete.
    SegmentMissing {
        /// The segment's number.
        number: u64,
    },
    /// The oldest segment was removed before its retention ended, because the journal exceeds `journal.max_bytes`.
    DroppedEarly {
        /// The number of sends in the segment.
        entries: u64,
        /// The time of the segment's newest record.
        newest: Timestamp,
    },
    /// The journal protects less than expected while its configuration stays as it is.
    Degraded {
        /// The cause and the remedy.
        problem: &'a str,
    },
    /// A segment could not be indexed or removed; the journal retries.
    MaintenanceFailed {
        /// What failed, where, and the remedy.
        problem: &'a str,
    },
}

/// The receiver of events. It may be called with a lock held or on the writer's thread: it must not block, and it must
/// not call the journal.
pub(super) type EventListener = dyn Fn(JournalEvent<'_>) + Send + Sync;
