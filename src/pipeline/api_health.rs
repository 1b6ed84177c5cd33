//! Detects outages of the API, keeps the gate closed during each, and admits one probe at a time to find out whether it
//! is over.
//!
//! When the next probe is due, the best candidate among the commands that can be attempted becomes that probe. An outage
//! does not depend on the commands that detected it, and concurrent outages share one probe. Failures during an outage
//! are not counted as attempts of the command: they are caused by the outage.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use super::probe_choice::{ProbeCandidate, ProbeRank, RecentFailures};
use crate::{
    domain::{evidence::Evidence, schedule::Ticket, verdict::Verdict, window::AttemptWindow},
    gate::{Gate, GateHold, GateReason, GateState},
    sync::lock,
};

/// `Retry-After` is clamped to this range.
const MIN_THROTTLE: Duration = Duration::from_secs(1);
const MAX_THROTTLE: Duration = Duration::from_secs(3_600);
/// Applies without a `Retry-After`.
const DEFAULT_THROTTLE: Duration = Duration::from_secs(5);
/// The interval between probes for `breaker` doubles from 1 s up to this: at most 60 in any hour, the first ones included.
const MAX_BREAKER_INTERVAL: Duration = Duration::from_secs(65);
/// The same for `auth`. A login has its own least interval.
const MAX_AUTH_INTERVAL: Duration = Duration::from_secs(10);
/// The interval for `brake` while each probe is a command that has not failed yet: a rejection costs nothing, and good
/// commands may wait behind many wrong ones. Long enough for the next one to arrive from the queue.
const FRESH_BRAKE_INTERVAL: Duration = Duration::from_millis(300);
/// From then on it doubles from 1 s up to this.
const MAX_BRAKE_INTERVAL: Duration = Duration::from_secs(10);
/// How long before a probe is due a better candidate is requested from the queue.
const REQUEST_LEAD: Duration = Duration::from_secs(2);

/// One outage while it lasts.
struct Outage {
    reason: GateReason,
    /// What was reported.
    problem: String,
    /// Keeps the gate closed until dropped.
    hold: GateHold,
    next_probe: Instant,
    failed_probes: u32,
}

struct ApiHealthState {
    outages: Vec<Outage>,
    probe_in_flight: bool,
    window: AttemptWindow,
    failures: RecentFailures,
    /// The gate's count when it was closed or read last.
    resumes: u32,
}

/// The health of the API as the attempts of one pipeline show it.
pub(super) struct ApiHealth {
    gate: Gate,
    state: Mutex<ApiHealthState>,
    /// The origin of the window's times.
    started: Instant,
}

/// Whether an attempt may start now.
pub(super) enum AttemptTurn {
    /// The gate is open.
    GateOpen,
    /// The gate is closed, and the next attempt probes it.
    Probe(ProbePermit),
    /// The gate is closed; the next probe is due at this time, if one can open it.
    Wait(Option<Instant>),
}

/// The commands in hand that could be the next probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbesInHand {
    /// No command could be attempted if the gate were open.
    None,
    /// Each candidate has failed lately, or would end with an uncertain attempt.
    Failed,
    /// No command in the queue can be a better probe than the best candidate.
    Best,
    /// There is no room for another command in hand.
    Full,
}

/// The exclusive right to probe, until dropped.
pub(super) struct ProbePermit(Arc<ApiHealth>);

impl Drop for ProbePermit {
    fn drop(&mut self) {
        lock(&self.0.state).probe_in_flight = false;
    }
}

/// The result of one attempt.
#[derive(Clone, Copy)]
pub(super) struct AttemptResult<'a> {
    pub(super) verdict: Verdict,
    pub(super) evidence: &'a Evidence,
    pub(super) candidate: ProbeCandidate,
    /// The attempt was a probe.
    pub(super) is_probe: bool,
    /// When it ended.
    pub(super) now: Instant,
}

impl ApiHealth {
    /// For attempts that take at most `api_timeout`.
    pub(super) fn new(gate: Gate, api_timeout: Duration, now: Instant) -> Self {
        let state = ApiHealthState {
            outages: Vec::new(),
            probe_in_flight: false,
            window: AttemptWindow::new(api_timeout),
            failures: RecentFailures::default(),
            resumes: gate.state().resumes(),
        };
        Self { gate, state: Mutex::new(state), started: now }
    }

    /// Claims the probe if one is due.
    pub(super) fn turn(self: &Arc<Self>, now: Instant) -> AttemptTurn {
        let mut state = lock(&self.state);
        state.follow_operator(self.gate.state(), now);
        if self.gate.state().is_open() {
            return AttemptTurn::GateOpen;
        }
        match self.next_probe(&state) {
            Some(next_probe) if next_probe <= now => {
                state.probe_in_flight = true;
                AttemptTurn::Probe(ProbePermit(self.clone()))
            }
            next_probe => AttemptTurn::Wait(next_probe),
        }
    }

    /// How well a command would serve as a probe.
    pub(super) fn rank(&self, candidate: ProbeCandidate, ticket: Ticket, now: Instant) -> ProbeRank {
        lock(&self.state).failures.rank(candidate, ticket, now)
    }

    /// Whether a granted attempt may still be made, as a probe or not.
    pub(super) fn allows(&self, is_probe: bool) -> bool {
        let gate = self.gate.state();
        if is_probe { gate.reasons().all(GateReason::is_probed) } else { gate.is_open() }
    }

    /// Requests one command from the queue if a probe is due and no command in hand could be it; if one could, but has just
    /// failed, a little earlier.
    pub(super) fn request_probe(&self, in_hand: ProbesInHand, now: Instant) {
        let lead = match in_hand {
            ProbesInHand::None => Some(Duration::ZERO),
            ProbesInHand::Failed => Some(REQUEST_LEAD),
            ProbesInHand::Best | ProbesInHand::Full => None,
        };
        let next_probe = self.next_probe(&lock(&self.state));
        let is_due = next_probe.zip(lead).is_some_and(|(next_probe, lead)| next_probe <= now + lead);
        self.gate.request_probe(is_due);
    }

    /// For how long no probe is due, as far as known.
    pub(super) fn remaining_wait(&self, now: Instant) -> Duration {
        let next_probe = lock(&self.state).next_probe();
        next_probe.map(|next_probe| next_probe.saturating_duration_since(now)).unwrap_or_default()
    }

    /// Makes the next probe for this reason due at once: its cause may be mended.
    pub(super) fn probe_now(&self, reason: GateReason, now: Instant) {
        let mut state = lock(&self.state);
        for outage in state.outages.iter_mut().filter(|outage| outage.reason == reason) {
            outage.next_probe = now;
        }
    }

    /// `None` while a probe is in flight, the gate is open, or a reason holds it that no probe can end.
    fn next_probe(&self, state: &ApiHealthState) -> Option<Instant> {
        let can_probe = !state.probe_in_flight && self.gate.state().reasons().all(GateReason::is_probed);
        state.next_probe().filter(|_| can_probe)
    }

    /// Begins, prolongs and ends outages. Returns whether the attempt proves nothing about the command: it failed as a
    /// probe or while the breaker was closed, or was rejected while the brake was, and did not end that outage. This also
    /// holds for attempts that were in flight when the gate closed.
    pub(super) fn record(&self, result: AttemptResult<'_>) -> bool {
        let mut state = lock(&self.state);
        let AttemptResult { verdict, candidate, now, .. } = result;
        state.window.add(verdict, candidate.command, now.saturating_duration_since(self.started));
        let is_fresh = state.failures.is_fresh(candidate, now);
        state.failures.record(candidate, verdict == Verdict::Delivered, now);
        if result.is_probe {
            state.record_probe(result, is_fresh);
        }
        let is_excused = cause(verdict)
            .is_some_and(|reason| state.has(reason) || (result.is_probe && reason == GateReason::Breaker));
        if let Some(reason) = state.detect(verdict) {
            let problem = result.evidence.to_string();
            match state.outages.iter_mut().find(|outage| outage.reason == reason) {
                Some(outage) => outage.update(problem),
                None => self.begin_outage(&mut state, reason, problem, result),
            }
        }
        is_excused
    }

    fn begin_outage(&self, state: &mut ApiHealthState, reason: GateReason, problem: String, result: AttemptResult<'_>) {
        if state.outages.is_empty() {
            state.resumes = self.gate.state().resumes();
        }
        let hold = self.gate.close(reason, &problem);
        let next_probe = result.now + probe_wait(reason, 0, result.evidence.retry_after());
        state.outages.push(Outage { reason, problem, hold, next_probe, failed_probes: 0 });
    }
}

impl Outage {
    /// Reports another problem with the credential: after a refused login, one without a connection needs another remedy.
    fn update(&mut self, problem: String) {
        if self.reason == GateReason::Auth && self.problem != problem {
            self.hold.report(&problem);
            self.problem = problem;
        }
    }
}

impl ApiHealthState {
    fn has(&self, reason: GateReason) -> bool {
        self.outages.iter().any(|outage| outage.reason == reason)
    }

    /// An operator who resumes releases the brake, and the next probe of the breaker or a refused credential is due at once.
    fn follow_operator(&mut self, gate: GateState, now: Instant) {
        if self.resumes == gate.resumes() {
            return;
        }
        self.resumes = gate.resumes();
        self.outages.retain(|outage| outage.reason != GateReason::Brake);
        // The rejections before must not close it again.
        self.window.clear();
        for outage in self.outages.iter_mut().filter(|outage| outage.reason != GateReason::Throttle) {
            outage.next_probe = now;
        }
    }

    /// The latest of the outages' probes: one probe serves all.
    fn next_probe(&self) -> Option<Instant> {
        self.outages.iter().map(|outage| outage.next_probe).max()
    }

    /// Ends the outages that a probe proves to be over, and postpones the next probe of the others. `is_fresh`: the command
    /// had not failed before.
    fn record_probe(&mut self, result: AttemptResult<'_>, is_fresh: bool) {
        self.outages.retain(|outage| !ends_outage(outage.reason, result.verdict));
        if self.outages.is_empty() {
            // Attempts from before or during the outage must not close the gate again.
            self.window.clear();
        }
        for outage in &mut self.outages {
            let starts_anew = is_fresh && outage.reason == GateReason::Brake;
            outage.failed_probes = if starts_anew { 0 } else { outage.failed_probes.saturating_add(1) };
            let wait = probe_wait(outage.reason, outage.failed_probes, result.evidence.retry_after());
            outage.next_probe = result.now + wait;
        }
    }

    /// The outage that a verdict shows, alone or with those in the window.
    fn detect(&self, verdict: Verdict) -> Option<GateReason> {
        cause(verdict).filter(|reason| match reason {
            GateReason::Breaker => self.window.trips_breaker(),
            GateReason::Brake => self.window.pulls_brake(),
            _ => true,
        })
    }
}

/// The outage that an attempt with this verdict may be due to.
const fn cause(verdict: Verdict) -> Option<GateReason> {
    match verdict {
        Verdict::Delivered => None,
        Verdict::Unauthorized => Some(GateReason::Auth),
        Verdict::Throttled => Some(GateReason::Throttle),
        Verdict::Rejected => Some(GateReason::Brake),
        Verdict::Retry | Verdict::Uncertain => Some(GateReason::Breaker),
    }
}

/// Only an answer about the command itself ends an outage, and only a success ends the brake.
fn ends_outage(reason: GateReason, verdict: Verdict) -> bool {
    match verdict {
        Verdict::Delivered => true,
        Verdict::Rejected => reason != GateReason::Brake,
        Verdict::Retry | Verdict::Throttled | Verdict::Unauthorized | Verdict::Uncertain => false,
    }
}

fn probe_wait(reason: GateReason, failed_probes: u32, retry_after: Option<Duration>) -> Duration {
    let doubling = Duration::from_secs(1 << failed_probes.min(10));
    match reason {
        GateReason::Throttle => retry_after.unwrap_or(DEFAULT_THROTTLE).clamp(MIN_THROTTLE, MAX_THROTTLE),
        GateReason::Breaker => doubling.min(MAX_BREAKER_INTERVAL),
        GateReason::Brake if failed_probes == 0 => FRESH_BRAKE_INTERVAL,
        GateReason::Brake => (doubling / 2).min(MAX_BRAKE_INTERVAL),
        // After a login that named a wait, no sooner.
        _ => doubling.min(MAX_AUTH_INTERVAL).max(retry_after.unwrap_or_default().min(MAX_THROTTLE)),
    }
}
