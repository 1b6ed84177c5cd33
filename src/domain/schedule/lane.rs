//! One lane: the commands with the same ordering key, each at a fixed position.
//!
//! A command is in exactly one of four maps: `queue` and `held` (waiting in hand), `pending_delays` (in hand, to be
//! copied to a tier), `missing` (in a tier or requeued). Positions give the order across all four.

mod admission;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    pace::LanePace,
    ready::ReadyEntry,
    types::{LaneCounts, OrderCounters, Ticket},
};

/// A position in a lane; the lowest goes first. A command keeps it, over delays, until it is finished.
pub(super) type Position = u64;

/// The distance between new positions, which leaves room for redelivered duplicates behind their original.
const POSITION_STEP: Position = 1 << 16;

/// Why a command is delayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DelayCause {
    /// The command itself requested it.
    Requested,
    /// A command before it is missing.
    Behind,
    /// The lane is full.
    Overflow,
    /// The commands that wait have their share of the prefetch.
    Share,
}

/// A command in hand that is to be copied to a tier.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingDelay {
    pub(super) ticket: Ticket,
    id: u64,
    pub(super) tier: usize,
    pub(super) cause: DelayCause,
}

/// A command that is not in hand but will return.
#[derive(Clone, Copy, Debug)]
struct MissingCommand {
    id: u64,
    due: Duration,
}

/// The commands of one key, and what the schedule keeps of the lane.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// In hand, with no missing or pending command before them.
    queue: BTreeMap<Position, Ticket>,
    /// In hand, behind a missing or pending command.
    held: BTreeMap<Position, Ticket>,
    pending_delays: BTreeMap<Position, PendingDelay>,
    missing: BTreeMap<Position, MissingCommand>,
    /// The missing commands by id. Several copies of one command may be missing.
    missing_ids: BTreeSet<(u64, Position)>,
    last_position: Position,
    /// The head, once it is eligible, and since when.
    head_since: Option<(Ticket, Duration)>,
    /// The command with an attempt in progress.
    pub(super) attempting: Option<Ticket>,
    /// The command whose copy is being published: one at a time, so that the tier holds them in order.
    pub(super) publishing: Option<Ticket>,
    /// The earliest next start, by the key's least interval.
    pub(super) not_before: Duration,
    /// Until when the command with an attempt in progress waits in process.
    pub(super) resting_until: Duration,
    pub(super) pace: LanePace,
    /// The entry in the ready queue, while the head may start but for the rates.
    pub(super) ready: Option<ReadyEntry>,
    /// Whether the lane is in the schedule's list of lanes with pending delays.
    pub(super) is_listed: bool,
    /// When the lane changes without an event.
    pub(super) timer: Option<Duration>,
    /// The lane's part of the schedule's totals.
    pub(super) counted: LaneCounts,
}

impl Lane {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting() == 0 && self.pending_delays.is_empty() && self.missing.is_empty()
    }

    /// The number of commands that wait in hand.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len() + self.held.len()
    }

    pub(super) fn has_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// The tickets of all commands in hand.
    pub(super) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        let pending = self.pending_delays.values().map(|pending| pending.ticket);
        self.queue.values().chain(self.held.values()).copied().chain(pending)
    }

    /// Whether the command with this ticket waits in hand at this position.
    pub(super) fn is_waiting(&self, position: Position, ticket: Ticket) -> bool {
        [&self.queue, &self.held].into_iter().any(|map| map.get(&position) == Some(&ticket))
    }

    pub(super) fn is_occupied(&self, position: Position) -> bool {
        self.queue.contains_key(&position)
            || self.held.contains_key(&position)
            || self.pending_delays.contains_key(&position)
            || self.missing.contains_key(&position)
    }

    pub(super) fn is_missing(&self, id: u64) -> bool {
        self.missing_position(id).is_some()
    }

    fn missing_position(&self, id: u64) -> Option<Position> {
        self.missing_ids.range((id, 0)..=(id, Position::MAX)).next().map(|(_, position)| *position)
    }

    /// The position of a command that arrives: its own if it was missing, else a new one at the end.
    pub(super) fn take_position(&mut self, id: u64) -> Position {
        if let Some(position) = self.publishing_position(id) {
            // The copy has returned before its confirm was seen.
            self.pending_delays.remove(&position);
            return position;
        }
        if let Some(position) = self.missing_position(id) {
            self.forget(id, position);
            return position;
        }
        self.last_position += POSITION_STEP;
        self.last_position
    }

    /// The position behind the copy of the same command that waits in hand, if any: its session was lost and the broker
    /// has redelivered it, which must not move it behind later commands.
    pub(super) fn position_after_duplicate(&self, is_duplicate: impl Fn(&Ticket) -> bool) -> Option<Position> {
        let waiting = self.queue.iter().chain(&self.held);
        let next = waiting.filter(|(_, ticket)| is_duplicate(ticket)).map(|(position, _)| *position + 1).next_back()?;
        (!self.is_occupied(next)).then_some(next)
    }

    fn publishing_position(&self, id: u64) -> Option<Position> {
        let publishing = self.publishing?;
        let mut pending = self.pending_delays.iter();
        // Nearly always the first: only the first is chosen for publishing.
        pending.find(|(_, pending)| pending.ticket == publishing && pending.id == id).map(|(position, _)| *position)
    }

    fn forget(&mut self, id: u64, position: Position) {
        self.missing_ids.remove(&(id, position));
        self.missing.remove(&position);
    }

    /// Moves a waiting command and all that wait behind it to the pending delays; `id_of` returns a ticket's id.
    pub(super) fn delay_from(
        &mut self,
        position: Position,
        tier: usize,
        first_cause: DelayCause,
        id_of: impl Fn(Ticket) -> u64,
    ) {
        let waiting = self.queue.split_off(&position).into_iter().chain(self.held.split_off(&position));
        for (other, ticket) in waiting {
            self.attempting.take_if(|attempting| *attempting == ticket);
            let cause = if other == position { first_cause } else { DelayCause::Behind };
            self.pending_delays.insert(other, PendingDelay { ticket, id: id_of(ticket), tier, cause });
        }
    }

    /// A command with a pending delay requests one itself: the pending one stays, and a decision that the command has
    /// not seen is made again.
    pub(super) fn mark_requested(&mut self, position: Position, ticket: Ticket) {
        if let Some(pending) = self.pending_delays.get_mut(&position).filter(|pending| pending.ticket == ticket) {
            pending.cause = DelayCause::Requested;
            self.publishing.take_if(|publishing| *publishing == ticket);
        }
    }

    /// Removes a command from hand; returns its pending delay. Another command may occupy its position by now.
    pub(super) fn remove(&mut self, position: Position, ticket: Ticket) -> Option<PendingDelay> {
        for map in [&mut self.queue, &mut self.held] {
            if map.get(&position) == Some(&ticket) {
                map.remove(&position);
            }
        }
        self.attempting.take_if(|attempting| *attempting == ticket);
        self.publishing.take_if(|publishing| *publishing == ticket);
        let is_pending = self.pending_delays.get(&position).is_some_and(|pending| pending.ticket == ticket);
        if is_pending { self.pending_delays.remove(&position) } else { None }
    }

    /// Remembers a command whose copy is in a tier, due at `due`.
    pub(super) fn remember_delayed(&mut self, position: Position, pending: PendingDelay, due: Duration) {
        self.remember(position, MissingCommand { id: pending.id, due });
    }

    /// Remembers a command that the broker will redeliver.
    pub(super) fn remember_requeued(&mut self, position: Position, id: u64, now: Duration) {
        self.remember(position, MissingCommand { id, due: now });
    }

    /// Forgets all missing commands.
    pub(super) fn forget_missing(&mut self) {
        self.missing.clear();
        self.missing_ids.clear();
    }

    fn remember(&mut self, position: Position, missing: MissingCommand) {
        self.missing_ids.insert((missing.id, position));
        self.missing.insert(position, missing);
    }

    /// Restores the lane's invariants after an event: forgets overdue commands, moves held ones that are no longer
    /// behind a missing one to the queue, and cancels delays that have become unnecessary.
    pub(super) fn advance(
        &mut self,
        capacity: usize,
        is_overdue: impl Fn(Duration) -> bool,
        counters: &mut OrderCounters,
    ) {
        loop {
            if let Some((position, missing)) = self.blocking_missing().filter(|(_, missing)| is_overdue(missing.due)) {
                self.forget(missing.id, position);
                counters.forgotten += 1;
            } else if !self.cancel_pending(capacity) {
                break;
            }
        }
        let blockers = self.pending_delays.keys().next().into_iter().chain(self.missing.keys().next());
        self.release_held(blockers.min().copied().unwrap_or(Position::MAX));
    }

    /// Cancels the first pending delay of a command that was behind another or overflowed, unless it is being published
    /// or there is no room.
    fn cancel_pending(&mut self, capacity: usize) -> bool {
        let Some((position, pending)) = self.pending_delays.first_key_value() else { return false };
        let (position, ticket) = (*position, pending.ticket);
        let is_behind = self.missing.keys().next().is_some_and(|first| *first < position);
        let is_decided = matches!(pending.cause, DelayCause::Requested | DelayCause::Share);
        let is_fixed = is_decided || self.publishing == Some(ticket);
        if is_behind || is_fixed || self.waiting() >= capacity {
            return false;
        }
        self.release_held(position);
        self.pending_delays.remove(&position);
        self.queue.insert(position, ticket);
        true
    }

    /// Moves the held commands before this position to the queue.
    fn release_held(&mut self, before: Position) {
        if self.held.keys().next().is_some_and(|first| *first < before) {
            let rest = self.held.split_off(&before);
            self.queue.append(&mut std::mem::replace(&mut self.held, rest));
        }
    }

    /// The first missing command, if no pending delay is before it.
    fn blocking_missing(&self) -> Option<(Position, MissingCommand)> {
        let (position, missing) = self.missing.first_key_value()?;
        let is_first = self.pending_delays.keys().next().is_none_or(|first| position < first);
        is_first.then_some((*position, *missing))
    }

    /// When the command that blocks the lane was due, if it is a missing one.
    pub(super) fn blocked_since(&self) -> Option<Duration> {
        self.blocking_missing().map(|(_, missing)| missing.due)
    }

    /// The command that may start but for the key's interval and the rates.
    pub(super) fn eligible_head(&mut self, now: Duration) -> Option<Ticket> {
        let head = self.queue.values().next().copied().filter(|_| self.attempting.is_none());
        if self.head_since.map(|(ticket, _)| ticket) != head {
            self.head_since = head.map(|ticket| (ticket, now));
        }
        head
    }

    /// How long the key's interval has held back the head.
    pub(super) fn interval_wait(&self) -> Duration {
        self.head_since.map(|(_, since)| self.not_before.saturating_sub(since)).unwrap_or_default()
    }

    /// The next command to copy to a tier, unless a copy is being published.
    pub(super) fn next_delay(&self) -> Option<PendingDelay> {
        self.pending_delays.values().next().copied().filter(|_| self.publishing.is_none())
    }
}
