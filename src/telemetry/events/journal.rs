//! Events of the journal other than closing the gate.

use std::time::Duration;

use tracing::{trace, warn};

use super::event::TelemetryEvent;
use crate::telemetry::state::TelemetryState;

/// A journal write became durable.
#[derive(Clone, Copy, Debug)]
pub struct JournalWritten {
    /// Time from the write until the disk or Redis acknowledged it.
    pub took: Duration,
}

impl TelemetryEvent for JournalWritten {
    fn count(&self, state: &TelemetryState) {
        state.metrics.journal.observe_write(self.took);
    }

    fn log(&self) {
        trace!(took_us = self.took.as_micros(), "journal written");
    }
}

/// The size of the journal changed.
#[derive(Clone, Copy, Debug)]
pub struct JournalSize {
    /// Recorded commands.
    pub entries: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

impl TelemetryEvent for JournalSize {
    fn count(&self, state: &TelemetryState) {
        state.metrics.journal.set_size(self.entries, self.bytes);
    }

    fn log(&self) {
        trace!(entries = self.entries, bytes = self.bytes, "the journal holds {} commands", self.entries);
    }
}

/// The journal protects less than configured, or may soon.
#[derive(Clone, Copy, Debug)]
pub struct JournalDegraded<'a> {
    /// What is wrong, where, and what to do.
    pub problem: &'a str,
}

impl TelemetryEvent for JournalDegraded<'_> {
    fn count(&self, _: &TelemetryState) {}

    fn log(&self) {
        let problem = self.problem;
        warn!(problem, "the journal is degraded: {problem}");
    }
}
