//! What the daemon's memory does over a run.

use std::time::Duration;

use tokio::time::{Instant, interval};

use crate::support::daemon::Daemon;

const EVERY: Duration = Duration::from_secs(1);

/// More than the allocator's whims, less than a leak of a few bytes a command would come to.
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

    /// Insists that the last third of the run needed no more than the first.
    pub(crate) fn expect_flat(&self) {
        println!(
            "resident memory, every tenth: {:?} MiB",
            self.0.chunks((self.0.len() / 10).max(1)).map(|c| median(c) >> 20).collect::<Vec<_>>()
        );
        let third = self.0.len() / 3;
        let thirds = [0, 1, 2].map(|n| median(&self.0[n * third..(n + 1) * third]));
        println!("resident memory, median of each third: {:?} MiB", thirds.map(|bytes| bytes >> 20));
        assert!(thirds[2] <= thirds[0] + MARGIN_BYTES, "memory grows: {thirds:?}");
    }
}

fn median(seen: &[u64]) -> u64 {
    let mut seen = seen.to_vec();
    seen.sort_unstable();
    seen.get(seen.len() / 2).copied().unwrap_or_default()
}
