//! Backlogs of large messages, at full size: the peak memory, and the starts with little of it.

use crate::support::large_bodies;

#[tokio::test]
async fn figure_large_bodies_behind_small_ones() {
    large_bodies::check_peak_behind_small_commands("figure-large-peak", 60).await;
}

#[tokio::test]
async fn figure_large_bodies_behind_closed_gate() {
    large_bodies::check_peak_behind_closed_gate("figure-large-gate", 60).await;
}

#[tokio::test]
async fn figure_large_bodies_with_256_mib() {
    large_bodies::check_start_with_little_memory("figure-large-limit", 50).await;
}
