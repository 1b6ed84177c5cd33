//! The daemon's memory over a run.

use std::time::Duration;

use tokio::time::{Instant, interval};

use crate::support::daemon::Daemon;

const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// Allowed growth: about the buffers of one connection. A leak of a few hundred bytes per command exceeds it in ten minutes.
const MARGIN_BYTES: u64 = 12 << 20;

/// Resident memory in bytes, one sample per second.
pub(crate) struct MemorySamples(Vec<u64>);

impl MemorySamples {
    pub(crate) async fn collect(daemon: &Daemon, until: Instant) -> Self {
        let (mut samples, mut ticks) = (Vec::new(), interval(SAMPLE_INTERVAL));
        while Instant::now() < until {
            ticks.tick().await;
            samples.push(daemon.rss_bytes());
        }
        Self(samples)
    }

    /// Asserts that the median of the last third is no larger than that of the first third, plus the margin. The first quarter
    /// of the run is left out: there, each first reconnect still adds the buffers of a connection.
    pub(crate) fn expect_flat(&self) {
        let steady = &self.0[self.0.len() / 4..];
        let third = steady.len() / 3;
        let thirds = [0, 1, 2].map(|n| median(&steady[n * third..(n + 1) * third]));
        println!("resident memory, median of each third: {:?} MiB", thirds.map(|bytes| bytes >> 20));
        assert!(thirds[2] <= thirds[0] + MARGIN_BYTES, "memory grows: {thirds:?}");
    }
}

fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
