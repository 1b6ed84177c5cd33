//! Messages far larger than a command. `sh tests/run.sh figures` has the same with more of them.

use crate::support::large_bodies;

const LARGE: u32 = 20;

#[tokio::test]
async fn large_bodies_behind_small_ones_are_bounded() {
    large_bodies::check_peak_behind_small_commands("large-peak", LARGE).await;
}

#[tokio::test]
async fn large_bodies_behind_closed_gate_are_bounded() {
    large_bodies::check_peak_behind_closed_gate("large-gate", LARGE).await;
}

#[tokio::test]
async fn large_bodies_fit_into_256_mib_of_data() {
    large_bodies::check_start_with_little_memory("large-limit", LARGE).await;
}
