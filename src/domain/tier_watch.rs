//! Detects a delay queue that does not return its messages.

use std::time::Duration;

/// For the broker to move expired messages, and for a count that is some seconds old.
const SLACK: Duration = Duration::from_secs(20);
/// Beside other consumers of the command queue: they send to the delay queue, too, which only a rise of the count shows.
const SHARED_SLACK: Duration = Duration::from_secs(300);

/// The number of messages in one delay queue over time. Times are since the start of the process.
#[derive(Clone, Debug, Default)]
pub struct TierWatch {
    messages: u64,
    /// Since when the queue has held messages and released none.
    held_since: Option<Duration>,
    last_sent: Option<Duration>,
    is_stuck: bool,
}

impl TierWatch {
    /// Records that this daemon sent a message to the queue.
    pub fn record_sent(&mut self, now: Duration) {
        self.last_sent = Some(now);
    }

    /// Records a count of the messages in the queue, whose messages expire after `length`; `is_shared` while other daemons
    /// may send to it. Returns whether the queue is stuck if that has changed: it has released nothing for longer than
    /// `length`, although nothing was sent to it.
    pub fn observe(&mut self, messages: u64, length: Duration, is_shared: bool, now: Duration) -> Option<bool> {
        if messages > self.messages {
            self.last_sent = Some(now);
        }
        if messages == 0 {
            self.held_since = None;
        } else if messages < self.messages || self.held_since.is_none() {
            self.held_since = Some(now);
        }
        self.messages = messages;
        let quiet_since = self.held_since.max(self.last_sent.filter(|_| messages > 0));
        let slack = if is_shared { SHARED_SLACK } else { SLACK };
        let is_stuck = quiet_since.is_some_and(|since| now.saturating_sub(since) > length + slack);
        (std::mem::replace(&mut self.is_stuck, is_stuck) != is_stuck).then_some(is_stuck)
    }

    /// The number of messages in the queue if it is stuck.
    #[must_use]
    pub fn stuck_messages(&self) -> Option<u64> {
        self.is_stuck.then_some(self.messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(5);

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Observes a count every 5 s from the given time on; returns the times of the changes.
    fn observe(watch: &mut TierWatch, from_s: u64, counts: impl IntoIterator<Item = u64>) -> Vec<(u64, bool)> {
        let times = (from_s..).step_by(5);
        let observed = times.zip(counts).map(|(at, count)| (at, watch.observe(count, LENGTH, false, s(at))));
        observed.filter_map(|(at, change)| Some((at, change?))).collect()
    }

    #[test]
    fn tier_that_releases_nothing_is_stuck() {
        let mut watch = TierWatch::default();
        assert_eq!(observe(&mut watch, 0, [0, 3, 3, 3, 3, 3, 3, 3]), [(35, true)], "more than 25 s after the first 3");
        assert_eq!(watch.stuck_messages(), Some(3));
        assert_eq!(observe(&mut watch, 40, [3, 0]), [(45, false)]);
        assert_eq!(watch.stuck_messages(), None);
    }

    #[test]
    fn tier_that_releases_some_is_not_stuck() {
        let counts = (0..100).map(|index| if index % 5 == 0 { 9 } else { 10 });
        assert_eq!(observe(&mut TierWatch::default(), 0, counts), []);
    }

    #[test]
    fn tier_that_is_sent_messages_is_not_stuck() {
        let mut watch = TierWatch::default();
        for at in (0..200).step_by(10) {
            watch.record_sent(s(at));
            assert_eq!(watch.observe(10, LENGTH, false, s(at)), None);
        }
        assert_eq!(observe(&mut watch, 200, [10; 10]), [(220, true)], "the last was sent at 190 s");
    }

    #[test]
    fn tier_that_another_daemon_fills_is_not_stuck() {
        let mut watch = TierWatch::default();
        assert_eq!(observe(&mut watch, 0, 1..=40), [], "a rise proves that messages are sent");
        assert_eq!(observe(&mut watch, 200, [40; 10]), [(225, true)], "the last rise was at 195 s");
        let (mut watch, mut changes) = (TierWatch::default(), Vec::new());
        for at in (0..400).step_by(5) {
            changes.extend(watch.observe(7, LENGTH, true, s(at)).map(|is_stuck| (at, is_stuck)));
        }
        assert_eq!(changes, [(310, true)], "others may send as many as expire");
    }

    #[test]
    fn empty_tier_is_not_stuck() {
        let mut watch = TierWatch::default();
        watch.record_sent(s(0));
        assert_eq!(observe(&mut watch, 0, [0; 20]), []);
    }
}
