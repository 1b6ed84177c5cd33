//! How long to wait before the next attempt.

use std::time::Duration;

/// The first waits are short enough to hide a blip without a round trip through the broker.
const IN_PROCESS_MS: [u64; 2] = [200, 1_000];

/// Where a command waits for its next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// In memory.
    InProcess(Duration),
    /// In the tiers' `n`th turn (0, 1, …).
    InTier(usize),
}

/// The delay after `attempts` counted attempts (1 or more). The short ones are spread by `random_unit` (0 ≤ random_unit < 1) over
/// 80-120 %, so that commands that failed together do not come back together.
#[must_use]
pub fn delay_after(attempts: u32, random_unit: f64) -> Delay {
    let step = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    match IN_PROCESS_MS.get(step) {
        Some(ms) => Delay::InProcess(Duration::from_millis(*ms).mul_f64(0.8 + 0.4 * random_unit.clamp(0.0, 1.0))),
        None => Delay::InTier(step - IN_PROCESS_MS.len()),
    }
}

/// The wait before asking the broker again after `failures` failures in a row (1 or more): full jitter over a doubling
/// bound from 0.2 s to 5 s, so that many daemons do not return to a restarted broker in one wave.
#[must_use]
pub fn backoff(failures: u32, random_unit: f64) -> Duration {
    let bound_ms = 200_u64.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(5_000);
    Duration::from_millis(100) + Duration::from_millis(bound_ms).mul_f64(random_unit.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_two_wait_in_memory_and_the_others_in_the_tiers_in_turn() {
        assert_eq!(delay_after(1, 0.0), Delay::InProcess(Duration::from_millis(160)));
        assert_eq!(delay_after(1, 0.5), Delay::InProcess(Duration::from_millis(200)));
        assert_eq!(delay_after(2, 1.0), Delay::InProcess(Duration::from_millis(1_200)));
        for (attempts, turn) in [(3, 0), (4, 1), (8, 5), (u32::MAX, 4_294_967_292)] {
            assert_eq!(delay_after(attempts, 0.5), Delay::InTier(turn), "{attempts}");
        }
    }

    #[test]
    fn reconnects_are_never_at_once_and_never_more_than_about_five_seconds_apart() {
        for failures in [0, 1, 5, 20, u32::MAX] {
            assert!(backoff(failures, 0.0) >= Duration::from_millis(100));
            assert!(backoff(failures, 1.0) <= Duration::from_millis(5_100));
        }
        assert!(backoff(1, 1.0) < backoff(4, 1.0));
    }
}
