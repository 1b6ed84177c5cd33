//! The shares of the hand, and the order that ends while the queue is shared.

use std::time::Duration;

use super::{HandBounds, Schedule};

impl Schedule {
    /// The tier for a command of a class that has its share of waiting commands in hand.
    pub(super) fn class_overflow(&mut self, class: usize, now: Duration) -> Option<usize> {
        let command_time = self.rates.class_token_time(class)?;
        let backlog = self.backlogs.get_mut(class)?;
        if backlog.in_hand < self.settings.useful_share(command_time) {
            return None;
        }
        let wait = backlog.busy_for(command_time, now);
        (wait >= self.settings.short_wait()).then(|| self.settings.longest_tier_within(wait))
    }

    /// The commands in hand that wait for anything but a free slot or the target's rate.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let rate_limited = self.backlogs.iter().enumerate().filter_map(|(class, backlog)| {
            let command_time = self.rates.class_token_time(class)?;
            let wait = command_time.saturating_mul(u32::try_from(backlog.in_hand).unwrap_or(u32::MAX));
            (wait >= self.settings.short_wait()).then_some(backlog.in_hand)
        });
        self.totals.waiting + rate_limited.sum::<usize>()
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
