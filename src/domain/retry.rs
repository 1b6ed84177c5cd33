//! How long to wait before the next attempt.

use std::time::Duration;

/// The first two waits are short enough to hide a blip; later ones double up to the last.
const WAITS_MS: [u64; 8] = [200, 1_000, 2_000, 4_000, 8_000, 15_000, 30_000, 30_000];

/// The wait after `attempts` attempts (1 or more): the step's length, spread by `dice` (0 ≤ dice < 1) over 80-120 %
/// so that commands that failed together do not come back together.
#[must_use]
pub fn wait_after(attempts: u32, dice: f64) -> Duration {
    let step = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    let longest = WAITS_MS.last().copied().unwrap_or_default();
    let wait = Duration::from_millis(WAITS_MS.get(step).copied().unwrap_or(longest));
    wait.mul_f64(0.8 + 0.4 * dice.clamp(0.0, 1.0))
}

/// The wait before asking the broker again after `failures` failures in a row (1 or more): full jitter over a doubling
/// bound from 0.2 s to 5 s, so that many daemons do not return to a restarted broker in one wave.
#[must_use]
pub fn back_off(failures: u32, dice: f64) -> Duration {
    let bound_ms = 200_u64.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(5_000);
    Duration::from_millis(100) + Duration::from_millis(bound_ms).mul_f64(dice.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_within_a_fifth_of_the_step() {
        for (attempts, step_ms) in [(1, 200), (2, 1_000), (3, 2_000), (8, 30_000), (4_000_000_000, 30_000)] {
            let step = Duration::from_millis(step_ms);
            assert_eq!(wait_after(attempts, 0.0), step.mul_f64(0.8), "attempt {attempts}");
            assert_eq!(wait_after(attempts, 0.5), step, "attempt {attempts}");
            assert!(wait_after(attempts, 0.999) < step.mul_f64(1.2), "attempt {attempts}");
        }
    }

    #[test]
    fn reconnects_are_never_at_once_and_never_more_than_about_five_seconds_apart() {
        for failures in [0, 1, 5, 20, u32::MAX] {
            assert!(back_off(failures, 0.0) >= Duration::from_millis(100));
            assert!(back_off(failures, 1.0) <= Duration::from_millis(5_100));
        }
        assert!(back_off(1, 1.0) < back_off(4, 1.0));
    }
}
