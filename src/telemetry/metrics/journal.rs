//! The families about the journal.

use std::time::Duration;

use prometheus::{Error, Histogram, IntGauge};

use super::family::Families;

/// A disk takes about a millisecond; beyond a second it is in trouble.
const WRITE_BOUNDS_S: [f64; 10] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0];

/// The journal: how fast and how large.
#[derive(Debug)]
pub(crate) struct Journal {
    write: Histogram,
    entries: IntGauge,
    bytes: IntGauge,
}

impl Journal {
    pub(super) fn register(families: &Families<'_>) -> Result<Self, Error> {
        let write =
            ("journal_write_seconds", "Time from a write of the journal to its being durable; a batch is one write.");
        Ok(Self {
            write: families.histogram(write, &WRITE_BOUNDS_S)?,
            entries: families.gauge(("journal_entries", "Sends on record in the journal of this daemon."))?,
            bytes: families.gauge(("journal_bytes", "Size of the journal of this daemon on disk."))?,
        })
    }

    pub(crate) fn wrote(&self, took: Duration) {
        self.write.observe(took.as_secs_f64());
    }

    pub(crate) fn holds(&self, entries: u64, bytes: u64) {
        self.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
