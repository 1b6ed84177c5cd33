//! The memory of one daemon over a run.

use std::time::Duration;

use crate::{config::elapse, doubt::Site, environment::Environment};

const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// Allowed growth: a fifth, and about the buffers of a connection.
const MARGIN_BYTES: u64 = 8 << 20;

/// A run of ten minutes. In a shorter one most kinds of faults happen for the first time.
const MIN_SAMPLES: usize = 480;

/// Resident memory in bytes, one sample per second.
#[derive(Default)]
pub(crate) struct MemorySamples(Vec<u64>);

impl MemorySamples {
    /// Samples the first process of the daemon with the file journal until the run is over.
    pub(crate) async fn collect(&mut self, environment: &Environment) {
        let daemon = &environment.deployment(Site::File).daemons[0];
        while !environment.is_over() {
            elapse(SAMPLE_INTERVAL).await;
            self.0.extend(daemon.lock().await.rss_of_first_process());
        }
    }

    /// Why the memory is not flat: the median of the last third exceeds that of the first third by more than the margin. The
    /// first quarter of the run is left out: there, each kind of fault still adds buffers when it happens first. A short run
    /// only prints the figures.
    pub(crate) fn problem(&self) -> Option<String> {
        let steady = &self.0[self.0.len() / 4..];
        let third = steady.len() / 3;
        let thirds = [0, 1, 2].map(|n| median(&steady[n * third..(n + 1) * third]));
        println!("resident memory, median of each third: {:?} MiB", thirds.map(|bytes| bytes >> 20));
        let is_flat = thirds[2] <= thirds[0] + thirds[0] / 5 + MARGIN_BYTES;
        (!is_flat && self.0.len() >= MIN_SAMPLES).then(|| format!("memory grows: {thirds:?}"))
    }
}

fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
