//! What the journal tells whoever runs it. It logs and counts nothing itself.

use std::{path::Path, time::Duration};

use jiff::Timestamp;

/// Something that happened, for a log line, a metric or the gate.
#[derive(Clone, Copy, Debug)]
pub enum Notice<'a> {
    /// A batch is durable.
    Wrote {
        /// How long writing it and waiting for the disk took.
        took: Duration,
    },
    /// How much it holds; told about once a second.
    Holds {
        /// Sends on record, counted once for each segment that knows them.
        entries: u64,
        /// Bytes on disk.
        bytes: u64,
    },
    /// It cannot be written or read; nothing is told durable until [`Notice::Available`]. Told once for a reason.
    Unavailable {
        /// What, where, and what to do.
        why: &'a str,
    },
    /// It can be written and read again.
    Available,
    /// The last batch before a crash was cut: nobody had been told that it was durable.
    TornTail {
        /// Which file.
        path: &'a Path,
        /// How long it was.
        bytes: u64,
    },
    /// An index was missing or damaged and is made anew from its log; opening takes longer.
    Reindexed {
        /// Which file.
        path: &'a Path,
    },
    /// A segment is missing between others, so what it knew is forgotten, and the journal is not complete.
    Gap {
        /// Its number.
        missing: u64,
    },
    /// The oldest segment went before its time: the journal is larger than `journal.max_bytes`.
    DroppedEarly {
        /// How many sends are forgotten.
        entries: u64,
        /// When the newest of them was recorded.
        newest: Timestamp,
    },
    /// It protects less than it should, for as long as it is used like this.
    Weakened {
        /// What is wrong, and what to do.
        why: &'a str,
    },
    /// A segment could not be indexed or removed; it is tried again.
    Postponed {
        /// What, where, and what to do.
        why: &'a str,
    },
}

/// Where notices go. Called on the writer's thread, and while the journal opens: it must not wait.
pub(super) type Tell = dyn Fn(Notice<'_>) + Send;
