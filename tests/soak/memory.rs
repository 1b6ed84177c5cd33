//! What the daemon's memory does over a run.

use std::time::Duration;

use tokio::time::{Instant, interval};

use crate::support::daemon::Daemon;

const EVERY: Duration = Duration::from_secs(1);

/// The buffers of one connection that the allocator did not find a place for; less than a leak of a few hundred bytes
/// a command comes to in ten minutes.
const MARGIN_BYTES: u64 = 12 << 20;

/// Resident bytes, second by second.
pub(crate) struct Memory(Vec<u64>);

impl Memory {
    pub(crate) async fn watch(daemon: &Daemon, until: Instant) -> Self {
        let (mut seen, mut seconds) = (Vec::new(), interval(EVERY));
        while Instant::now() < until {
            seconds.tick().await;
            seen.push(daemon.rss_bytes());
        }
        Self(seen)
    }

    /// Insists that the last third needed no more than the first, of the run without its first quarter: until then each
    /// first reconnect still adds the buffers of a connection.
    pub(crate) fn expect_flat(&self) {
        let steady = &self.0[self.0.len() / 4..];
        let third = steady.len() / 3;
        let thirds = [0, 1, 2].map(|n| median(&steady[n * third..(n + 1) * third]));
        println!("resident memory, median of each third: {:?} MiB", thirds.map(|bytes| bytes >> 20));
        assert!(thirds[2] <= thirds[0] + MARGIN_BYTES, "memory grows: {thirds:?}");
    }
}

fn median(seen: &[u64]) -> u64 {
    let mut seen = seen.to_vec();
    seen.sort_unstable();
    seen.get(seen.len() / 2).copied().unwrap_or_default()
}
