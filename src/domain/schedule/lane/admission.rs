//! Where a command that arrives waits: in hand, or in a tier.

use std::time::Duration;

use super::{DelayCause, Lane, POSITION_STEP, PendingDelay, Position};
use crate::domain::schedule::types::{LaneCounts, Room, ScheduleSettings, Ticket};

/// The first command that does not wait in hand: those behind it must not be attempted before it.
struct Blocker {
    position: Position,
    /// The time until it is due back.
    wait: Duration,
}

impl Lane {
    /// Adds a command in hand: to the queue, to the held ones, or to the pending delays.
    pub(in crate::domain::schedule) fn insert(
        &mut self,
        position: Position,
        (ticket, id): (Ticket, u64),
        room: Room,
        command_time: Duration,
        settings: &ScheduleSettings,
        now: Duration,
    ) {
        let capacity = settings.lane_capacity(command_time);
        let is_full = self.waiting() >= capacity;
        let wait = self.expected_wait(position, command_time, settings, now);
        let is_short = wait < settings.short_wait() || !room.is_crowded;
        let is_blocked = self.blocker(settings, now).is_some_and(|blocker| blocker.position < position);
        let (tier, cause) = if is_blocked {
            // Half of the capacity is reserved for returning commands, so that the queue does not run dry.
            let has_room = room.may_hold && !is_full && self.held.len() < capacity / 2;
            if has_room && is_short && wait <= settings.tier_length(0) {
                self.held.insert(position, ticket);
                return;
            }
            (settings.tier_for(wait), if is_full { DelayCause::Overflow } else { DelayCause::Behind })
        } else {
            let is_awaited = self.is_awaited(position);
            if (is_awaited && self.queue.is_empty()) || (!is_full && (is_short || is_awaited)) {
                self.queue.insert(position, ticket);
                return;
            }
            (settings.longest_tier_within(wait), if is_full { DelayCause::Overflow } else { DelayCause::Share })
        };
        self.pending_delays.insert(position, PendingDelay { ticket, id, tier, cause });
    }

    fn blocker(&self, settings: &ScheduleSettings, now: Duration) -> Option<Blocker> {
        let pending = self
            .pending_delays
            .first_key_value()
            .map(|(position, pending)| Blocker { position: *position, wait: settings.tier_length(pending.tier) });
        let missing = self
            .missing
            .first_key_value()
            .map(|(position, missing)| Blocker { position: *position, wait: missing.due.saturating_sub(now) });
        pending.into_iter().chain(missing).min_by_key(|blocker| blocker.position)
    }

    /// Whether a command in hand waits for the one at this position.
    pub(in crate::domain::schedule) fn is_awaited(&self, position: Position) -> bool {
        let last =
            [self.queue.keys().next_back(), self.held.keys().next_back(), self.pending_delays.keys().next_back()];
        last.into_iter().flatten().any(|last| *last > position)
    }

    /// How long a command at this position waits for those before it.
    pub(in crate::domain::schedule) fn expected_wait(
        &self,
        position: Position,
        command_time: Duration,
        settings: &ScheduleSettings,
        now: Duration,
    ) -> Duration {
        // Those between that have finished out of order count, too: they are few.
        let after = |wait: Duration, first: Position| {
            let ahead = u32::try_from(position.saturating_sub(first) / POSITION_STEP).unwrap_or(u32::MAX);
            wait.saturating_add(command_time.saturating_mul(ahead))
        };
        let head_wait = self.resting_until.max(self.not_before).saturating_sub(now);
        let behind_head = after(head_wait, self.first_position().unwrap_or(position));
        let blocker = self.blocker(settings, now).filter(|blocker| blocker.position < position);
        blocker.map_or(behind_head, |blocker| behind_head.max(after(blocker.wait, blocker.position)))
    }

    fn first_position(&self) -> Option<Position> {
        let in_hand = self.queue.keys().next().into_iter().chain(self.held.keys().next());
        in_hand.chain(self.pending_delays.keys().next()).chain(self.missing.keys().next()).min().copied()
    }

    /// The lane's part of the schedule's totals.
    pub(in crate::domain::schedule) fn counts(
        &self,
        settings: &ScheduleSettings,
        command_time: Duration,
        now: Duration,
    ) -> LaneCounts {
        let is_resting = self.resting_until > now;
        let is_slow = is_resting
            || !self.held.is_empty()
            || self.queue.len() > settings.min_lane_capacity
            || self.expected_wait(self.last_position, command_time, settings, now) >= settings.short_wait();
        let is_posting = self.attempting.is_some() && !is_resting;
        let waiting = if is_slow { self.waiting().saturating_sub(is_posting.into()) } else { 0 };
        LaneCounts { held: self.held.len(), missing: self.missing.len(), waiting }
    }

    /// The time that each command occupies the lane, as far as known. A long one may come from an outage.
    pub(in crate::domain::schedule) fn command_time(
        &self,
        key_interval: Duration,
        settings: &ScheduleSettings,
        now: Duration,
    ) -> Duration {
        self.pace.per_command(now).min(settings.tier_length(0)).max(key_interval)
    }
}
