//! The shares of the hand, and the order that ends while the queue is shared.

use std::time::Duration;

use super::{HandBounds, Schedule};

impl Schedule {
    /// The tier for a command of a class that waits for its rate and has its share in hand.
    pub(super) fn class_overflow(&mut self, class: usize, now: Duration) -> Option<usize> {
        let command_time = self.rates.class_token_time(class)?;
        let in_hand = self.backlogs.get(class)?.in_hand;
        if in_hand < self.settings.useful_share(command_time) || !self.is_held_back(class, in_hand, now) {
            return None;
        }
        let wait = self.backlogs.get_mut(class)?.busy_for(command_time, self.settings.short_wait(), now);
        Some(self.settings.longest_tier_within(wait))
    }

    /// The commands in hand that wait for anything but a free slot or the target's rate.
    #[must_use]
    pub fn waiting(&self, now: Duration) -> usize {
        let in_hand = self.backlogs.iter().map(|backlog| backlog.in_hand).enumerate();
        let rate_limited = in_hand.filter(|(class, in_hand)| self.is_held_back(*class, *in_hand, now));
        self.totals.waiting + rate_limited.map(|(_, in_hand)| in_hand).sum::<usize>()
    }

    /// Whether these commands of a class wait for its rate: for a while, or, in a class with a high rate, as many as may.
    /// Those of a class with a token left wait for the API.
    fn is_held_back(&self, class: usize, in_hand: usize, now: Duration) -> bool {
        let Some(command_time) = self.rates.class_token_time(class) else { return false };
        let wait = command_time.saturating_mul(u32::try_from(in_hand).unwrap_or(u32::MAX));
        let is_full = in_hand >= self.settings.bounds.max_share.max(1);
        wait >= self.settings.short_wait() || (is_full && !self.rates.class_wait(class, now).is_zero())
    }

    /// Reports whether other daemons consume the queue. While they do, nothing waits for a missing command, and commands
    /// that arrive have no order.
    pub fn set_shared(&mut self, is_shared: bool, now: Duration) {
        if std::mem::replace(&mut self.is_shared, is_shared) == is_shared {
            return;
        }
        self.refresh_lanes_with_missing(now);
    }

    pub(super) fn refresh_lanes_with_missing(&mut self, now: Duration) {
        let lanes: Vec<_> = self.lanes.iter().filter(|(_, lane)| lane.has_missing()).map(|(id, _)| *id).collect();
        lanes.into_iter().for_each(|id| self.refresh(id, now));
    }

    /// Changes the bounds that follow the prefetch.
    pub fn set_bounds(&mut self, bounds: HandBounds) {
        self.settings.bounds = bounds;
    }
}
