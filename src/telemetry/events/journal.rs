//! What happens to the journal, besides the gate that it closes.

use std::time::Duration;

use tracing::{trace, warn};

use super::Event;
use crate::telemetry::Telemetry;

/// A write is durable.
#[derive(Clone, Copy, Debug)]
pub struct JournalWrote {
    /// From the write to the answer of the disk, or of Redis.
    pub took: Duration,
}

impl Event for JournalWrote {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.inner.metrics.journal.wrote(self.took);
    }

    fn log(&self) {
        trace!(took_us = self.took.as_micros(), "the journal was written");
    }
}

/// How much the journal holds.
#[derive(Clone, Copy, Debug)]
pub struct JournalHolds {
    /// Sends on record.
    pub entries: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

impl Event for JournalHolds {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.inner.metrics.journal.holds(self.entries, self.bytes);
    }

    fn log(&self) {
        trace!(entries = self.entries, bytes = self.bytes, "the journal holds {} sends", self.entries);
    }
}

/// The journal protects less than it should, or may soon.
#[derive(Clone, Copy, Debug)]
pub struct JournalWeakened<'a> {
    /// What is wrong, where, and what to do.
    pub problem: &'a str,
}

impl Event for JournalWeakened<'_> {
    fn count(&self, _: &Telemetry) {}

    fn log(&self) {
        let problem = self.problem;
        warn!(problem, "the journal: {problem}");
    }
}
