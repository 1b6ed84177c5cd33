//! The pace of a lane: how long its commands keep it busy, each on average.

use std::time::Duration;

/// The mean follows a change within about this many commands.
const MAX_COUNTED: u32 = 16;

/// Measures the time from the start of a command's attempt to its end, its delays in process included. Waits for a rate or
/// a free slot, and delays in tiers, do not count.
#[derive(Debug, Default)]
pub(super) struct LanePace {
    busy_since: Option<Duration>,
    busy: Duration,
    finished: u32,
}

impl LanePace {
    pub(super) fn set_busy(&mut self, is_busy: bool, now: Duration) {
        if is_busy {
            self.busy_since.get_or_insert(now);
        } else if let Some(since) = self.busy_since.take() {
            self.busy += now.saturating_sub(since);
        }
    }

    pub(super) fn finish_command(&mut self) {
        self.finished += 1;
        if self.finished > MAX_COUNTED {
            (self.finished, self.busy) = (self.finished / 2, self.busy / 2);
        }
    }

    /// The mean time per command; zero while nothing is known.
    pub(super) fn per_command(&self, now: Duration) -> Duration {
        let current = self.busy_since.map(|since| now.saturating_sub(since)).unwrap_or_default();
        (self.busy + current) / self.finished.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn pace_is_the_mean_busy_time_of_recent_commands() {
        let mut pace = LanePace::default();
        assert_eq!(pace.per_command(s(5)), s(0));
        pace.set_busy(true, s(10));
        assert_eq!(pace.per_command(s(13)), s(3), "the first command, so far");
        pace.set_busy(false, s(14));
        pace.finish_command();
        assert_eq!(pace.per_command(s(100)), s(4), "idle time does not count");
        for nth in 0..100 {
            pace.set_busy(true, s(100 + nth));
            pace.set_busy(false, s(101 + nth));
            pace.finish_command();
        }
        assert_eq!(pace.per_command(s(300)).as_secs(), 1, "the first command counts little now");
    }
}
