//! Which command in hand is the best probe: one whose failure costs least and whose success is likeliest.

use std::{cmp::Reverse, time::Duration};

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::domain::schedule::Ticket;

/// Failed commands and devices that are remembered.
const MAX_FAILURES: usize = 10_000;
/// After this time a failure says nothing about the next attempt.
const MAX_FAILURE_AGE: Duration = Duration::from_secs(3_600);
/// After this many failures in a row a command ranks with those that an uncertain attempt would end: otherwise a few
/// commands that always fail would be the probes for ever, and keep the gate closed.
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
    /// The time of the last failure. A command that has not failed (`None`) precedes all others.
    command_failed: Option<Instant>,
    device_failed: Option<Instant>,
    /// The latest arrival precedes: wrong commands often arrive one after the other, and probes of the earlier ones failed.
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

#[cfg(test)]
mod tests {
    use super::*;

    const fn candidate(command: u64, is_parked_if_uncertain: bool) -> ProbeCandidate {
        ProbeCandidate { command, device: 100 + command, is_parked_if_uncertain }
    }

    #[test]
    fn often_failed_command_ranks_after_a_fresh_one_with_park() {
        let (resend, park, now) = (candidate(1, false), candidate(2, true), Instant::now());
        let mut failures = RecentFailures::default();
        for failed in 0..=MANY_FAILURES {
            let [resend_rank, park_rank] =
                [resend, park].map(|candidate| failures.rank(candidate, Ticket::default(), now));
            assert_eq!(resend_rank < park_rank, failed < MANY_FAILURES, "failed {failed} times");
            failures.record(resend, false, now);
        }
        failures.record(park, false, now + Duration::from_secs(1));
        let ranks = [resend, park].map(|candidate| failures.rank(candidate, Ticket::default(), now));
        assert!(ranks[0] < ranks[1], "the one that failed longest ago");
        failures.record(resend, true, now);
        assert!(failures.rank(resend, Ticket::default(), now).is_best(), "a success counts anew");
    }
}
