//! Which command in hand is the best probe: one whose failure costs least and whose success is likeliest.

use std::{cmp::Reverse, time::Duration};

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::domain::schedule::Ticket;

/// Failed commands and devices that are remembered.
const MAX_FAILURES: usize = 10_000;
/// After this time a failure says nothing about the next attempt.
const MAX_FAILURE_AGE: Duration = Duration::from_secs(3_600);
/// A command that has failed this often in a row is no better a probe than one whose failure would end it.
const MANY_FAILURES: u32 = 3;

/// What the choice of a probe depends on. The hashes are those of the command's send key and of its device.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProbeCandidate {
    pub(super) command: u64,
    pub(super) device: u64,
    /// An uncertain attempt would end it (`onUncertain = park`).
    pub(super) is_parked_if_uncertain: bool,
}

/// The order among candidates: the least is the best probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProbeRank {
    /// An uncertain attempt would end the command, or it has failed often.
    is_costly: bool,
    /// When the command failed last, if it did: never is less than long ago.
    command_failed: Option<Instant>,
    device_failed: Option<Instant>,
    /// The latest first: wrong commands arrive together, and those before this one have been tried.
    arrival: Reverse<Ticket>,
}

impl ProbeRank {
    /// Whether no command in the queue could be a better probe.
    pub(super) const fn is_best(&self) -> bool {
        !self.is_costly && self.command_failed.is_none() && self.device_failed.is_none()
    }
}

#[derive(Clone, Copy, Debug)]
struct LastFailure {
    last: Instant,
    /// In a row.
    count: u32,
}

/// The commands and devices whose last attempt did not succeed.
#[derive(Debug, Default)]
pub(super) struct RecentFailures(FxHashMap<u64, LastFailure>);

impl RecentFailures {
    pub(super) fn record(&mut self, candidate: ProbeCandidate, is_success: bool, now: Instant) {
        for hash in [candidate.command, candidate.device] {
            if is_success {
                self.0.remove(&hash);
            } else {
                self.make_room(now);
                let failure = self.0.entry(hash).or_insert(LastFailure { last: now, count: 0 });
                *failure = LastFailure { last: now, count: failure.count.saturating_add(1) };
            }
        }
    }

    fn make_room(&mut self, now: Instant) {
        if self.0.len() >= MAX_FAILURES {
            self.0.retain(|_, failure| now.saturating_duration_since(failure.last) < MAX_FAILURE_AGE);
        }
        if self.0.len() >= MAX_FAILURES {
            self.0.clear();
        }
    }

    /// Whether the command has not failed lately.
    pub(super) fn is_fresh(&self, candidate: ProbeCandidate, now: Instant) -> bool {
        self.recent(candidate.command, now).is_none()
    }

    fn recent(&self, hash: u64, now: Instant) -> Option<&LastFailure> {
        self.0.get(&hash).filter(|failure| now.saturating_duration_since(failure.last) < MAX_FAILURE_AGE)
    }

    pub(super) fn rank(&self, candidate: ProbeCandidate, ticket: Ticket, now: Instant) -> ProbeRank {
        let command = self.recent(candidate.command, now);
        ProbeRank {
            is_costly: candidate.is_parked_if_uncertain
                || command.is_some_and(|failure| failure.count >= MANY_FAILURES),
            command_failed: command.map(|failure| failure.last),
            device_failed: self.recent(candidate.device, now).map(|failure| failure.last),
            arrival: Reverse(ticket),
        }
    }
}
