//! Events of the journal other than closing the gate.

use std::time::Duration;

use tracing::{info, trace, warn};

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

/// From now on a missing journal record proves nothing.
#[derive(Clone, Copy, Debug)]
pub struct JournalInDoubt<'a> {
    /// Why.
    pub reason: &'a str,
}

impl TelemetryEvent for JournalInDoubt<'_> {
    fn count(&self, state: &TelemetryState) {
        state.metrics.journal.set_in_doubt(true);
        state.health.set_journal_doubt(Some(self.reason));
    }

    fn log(&self) {
        let reason = self.reason;
        warn!(
            reason,
            "the journal is in doubt: {reason}; a redelivered command without a record counts as a possible duplicate"
        );
    }
}

/// The journal is no longer in doubt.
#[derive(Clone, Copy, Debug)]
pub struct JournalDoubtEnded;

impl TelemetryEvent for JournalDoubtEnded {
    fn count(&self, state: &TelemetryState) {
        state.metrics.journal.set_in_doubt(false);
        state.health.set_journal_doubt(None);
    }

    fn log(&self) {
        info!("the journal is no longer in doubt");
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
