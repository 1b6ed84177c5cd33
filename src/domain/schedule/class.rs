//! The backlog of a rate class: its commands in hand, and those that return from tiers.

use std::{collections::VecDeque, time::Duration};

/// Copies in one tier whose due times differ by less than this part of its length are counted together.
const DUE_TIMES_PER_TIER: u32 = 32;

/// Copies that return together.
#[derive(Debug)]
struct ReturningCopies {
    due: Duration,
    count: u32,
}

/// What a class with a rate of its own must attempt.
#[derive(Debug, Default)]
pub(super) struct ClassBacklog {
    pub(super) in_hand: usize,
    /// By tier, the first due first. At most [`DUE_TIMES_PER_TIER`] and one each.
    returning: Vec<VecDeque<ReturningCopies>>,
}

impl ClassBacklog {
    /// Adds a copy that was stored in this tier.
    pub(super) fn add_delayed(&mut self, tier: usize, length: Duration, now: Duration) {
        self.remove_due(now);
        if self.returning.len() <= tier {
            self.returning.resize_with(tier + 1, VecDeque::new);
        }
        let (Some(copies), due) = (self.returning.get_mut(tier), now.saturating_add(length)) else { return };
        match copies.back_mut() {
            Some(last) if last.due + length / DUE_TIMES_PER_TIER > due => last.count = last.count.saturating_add(1),
            _ => copies.push_back(ReturningCopies { due, count: 1 }),
        }
    }

    fn remove_due(&mut self, now: Duration) {
        for copies in &mut self.returning {
            while copies.pop_front_if(|first| first.due <= now).is_some() {}
        }
    }

    /// How long the backlog keeps the class busy at one command per `command_time`, with gaps of at most `max_gap`. A
    /// command that is delayed until then leaves no larger one.
    pub(super) fn busy_for(&mut self, command_time: Duration, max_gap: Duration, now: Duration) -> Duration {
        self.remove_due(now);
        let mut returning: Vec<_> = self.returning.iter().flatten().collect();
        returning.sort_unstable_by_key(|copies| copies.due);
        let time_for = |count: u32| command_time.saturating_mul(count);
        let mut busy_until = now.saturating_add(time_for(u32::try_from(self.in_hand).unwrap_or(u32::MAX)));
        for copies in returning {
            if copies.due > busy_until.saturating_add(max_gap) {
                break;
            }
            busy_until = busy_until.max(copies.due).saturating_add(time_for(copies.count));
        }
        busy_until.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn busy_time_ends_at_the_first_gap() {
        let mut backlog = ClassBacklog { in_hand: 10, ..ClassBacklog::default() };
        assert_eq!(backlog.busy_for(s(1), s(0), s(100)), s(10));
        for tier in [0, 0, 0, 1, 1] {
            backlog.add_delayed(tier, s([5, 30][tier]), s(100));
        }
        assert_eq!(backlog.busy_for(s(1), s(0), s(100)), s(13), "until the three have returned and gone");
        assert_eq!(backlog.busy_for(s(1), s(17), s(100)), s(32), "over a gap of 17 s");
        backlog.in_hand = 27;
        assert_eq!(backlog.busy_for(s(1), s(0), s(100)), s(32), "no gap before the other two");
        assert_eq!(backlog.busy_for(s(1), s(0), s(105)), s(29), "those that are due are in the queue, or in hand");
    }

    #[test]
    fn copies_in_a_tier_take_bounded_memory() {
        let mut backlog = ClassBacklog::default();
        for ms in 0..100_000 {
            backlog.add_delayed(0, s(5), Duration::from_millis(ms));
        }
        assert!(backlog.returning[0].len() <= 33, "{}", backlog.returning[0].len());
        assert_eq!(backlog.busy_for(s(1), s(0), s(100)), s(0));
        backlog.in_hand = 1;
        assert!(backlog.busy_for(s(1), s(0), s(100)) > s(4_000));
    }
}
