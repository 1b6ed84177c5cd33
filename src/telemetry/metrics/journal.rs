//! Metrics of the journal.

use std::time::Duration;

use prometheus::{Error, Histogram, IntGauge};

use super::family::Families;

/// A healthy disk takes about a millisecond; more than a second is a problem.
const WRITE_BOUNDS_S: [f64; 10] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0];

/// Metrics of the journal.
#[derive(Debug)]
pub(crate) struct JournalMetrics {
    write_seconds: Histogram,
    entries: IntGauge,
    bytes: IntGauge,
    in_doubt: IntGauge,
}

impl JournalMetrics {
    pub(super) fn register(families: &Families<'_>) -> Result<Self, Error> {
        let write_seconds = (
            "journal_write_seconds",
            "Time in seconds from a journal write until it is durable. A batch is one write.",
        );
        Ok(Self {
            write_seconds: families.histogram(write_seconds, &WRITE_BOUNDS_S)?,
            entries: families.gauge(("journal_entries", "Commands recorded in this daemon's journal."))?,
            bytes: families.gauge(("journal_bytes", "Size of this daemon's journal on disk, in bytes."))?,
            in_doubt: families.gauge(("journal_in_doubt", "1 while a missing journal record proves nothing."))?,
        })
    }

    pub(crate) fn observe_write(&self, took: Duration) {
        self.write_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn set_in_doubt(&self, in_doubt: bool) {
        self.in_doubt.set(in_doubt.into());
    }

    pub(crate) fn set_size(&self, entries: u64, bytes: u64) {
        self.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
