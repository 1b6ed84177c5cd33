//! Delays between attempts, and backoff between reconnects.

use std::time::Duration;

/// The delays in memory: short enough to bridge a hiccup without a round trip through the broker.
const IN_PROCESS_DELAYS_MS: [u64; 2] = [200, 1_000];
/// The waits between probes of a full queue: each probe may cost other queues a copy.
const PROBE_WAITS_MS: std::ops::RangeInclusive<u64> = 200..=10_000;
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF_JITTER_MS: u64 = 5_000;

/// Where a command waits for its next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// In memory, for this time.
    InProcess(Duration),
    /// In the tier for its `n`th delay in a tier (0, 1, …); see [`super::tier::Tiers::for_turn`].
    InTier(usize),
}

/// Returns the delay after this many counted attempts (1 or more). `random_unit` (0 ≤ n < 1) spreads delays in memory
/// over 80-120 %, so that commands that failed together are not attempted together again.
#[must_use]
pub fn delay_after(attempts: u32, random_unit: f64) -> Delay {
    let step = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    match IN_PROCESS_DELAYS_MS.get(step) {
        Some(ms) => Delay::InProcess(Duration::from_millis(*ms).mul_f64(0.8 + 0.4 * random_unit.clamp(0.0, 1.0))),
        None => Delay::InTier(step - IN_PROCESS_DELAYS_MS.len()),
    }
}

/// Returns the wait after this many consecutive failures (1 or more): 0.1 s plus full jitter over a bound that doubles
/// from 0.2 s to 5 s, so that many daemons do not reconnect to a restarted broker at once.
#[must_use]
pub fn backoff(failures: u32, random_unit: f64) -> Duration {
    let bound_ms = 200_u64.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(MAX_BACKOFF_JITTER_MS);
    MIN_BACKOFF + Duration::from_millis(bound_ms).mul_f64(random_unit.clamp(0.0, 1.0))
}

/// Returns the wait before a publish probes whether the broker accepts messages again, after this many failures since its
/// last confirm: none, then 0.2 s, doubled up to 10 s. `random_unit` spreads it over 80-120 %.
#[must_use]
pub fn publish_probe_wait(failures: u32, random_unit: f64) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
    let wait_ms = PROBE_WAITS_MS.start().saturating_mul(1 << doublings.min(10)).min(*PROBE_WAITS_MS.end());
    Duration::from_millis(wait_ms).mul_f64(0.8 + 0.4 * random_unit.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_after_two_attempts_moves_to_the_tiers() {
        assert_eq!(delay_after(1, 0.0), Delay::InProcess(Duration::from_millis(160)));
        assert_eq!(delay_after(1, 0.5), Delay::InProcess(Duration::from_millis(200)));
        assert_eq!(delay_after(2, 1.0), Delay::InProcess(Duration::from_millis(1_200)));
        for (attempts, turn) in [(3, 0), (4, 1), (8, 5), (u32::MAX, 4_294_967_292)] {
            assert_eq!(delay_after(attempts, 0.5), Delay::InTier(turn), "{attempts}");
        }
    }

    #[test]
    fn publish_probe_wait_doubles_from_0_2_s_to_15_s() {
        for (failures, wait_ms) in [(0, 0), (1, 200), (2, 400), (6, 6_400), (7, 10_000), (u32::MAX, 10_000)] {
            assert_eq!(publish_probe_wait(failures, 0.5), Duration::from_millis(wait_ms), "{failures}");
        }
    }

    #[test]
    fn backoff_stays_between_100_ms_and_5_s() {
        for failures in [0, 1, 5, 20, u32::MAX] {
            assert!(backoff(failures, 0.0) >= Duration::from_millis(100));
            assert!(backoff(failures, 1.0) <= Duration::from_millis(5_100));
        }
        assert!(backoff(1, 1.0) < backoff(4, 1.0));
    }
}
