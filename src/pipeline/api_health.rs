//! Detects outages of the API, keeps the gate closed during each, and admits one probe at a time to find out whether it
//! is over.
//!
//! An outage belongs to no command: the first command that can be attempted when the next probe is due becomes that
//! probe. So an outage outlives the commands that detected it, and concurrent outages share one probe.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    domain::{evidence::Evidence, verdict::Verdict, window::AttemptWindow},
    gate::{Gate, GateHold, GateReason},
    sync::lock,
};

/// `Retry-After` is clamped to this range.
const MIN_THROTTLE: Duration = Duration::from_secs(1);
const MAX_THROTTLE: Duration = Duration::from_secs(3_600);
/// Applies without a `Retry-After`.
const DEFAULT_THROTTLE: Duration = Duration::from_secs(5);
/// The interval between probes doubles up to this.
const MAX_PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// One outage while it lasts.
struct Outage {
    reason: GateReason,
    /// Keeps the gate closed until dropped.
    _hold: GateHold,
    next_probe: Instant,
    failed_probes: u32,
}

#[derive(Default)]
struct ApiHealthState {
    outages: Vec<Outage>,
    probe_in_flight: bool,
    window: AttemptWindow,
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
    /// The attempt was a probe.
    pub(super) is_probe: bool,
    /// When it ended.
    pub(super) now: Instant,
}

impl ApiHealth {
    pub(super) fn new(gate: Gate, now: Instant) -> Self {
        Self { gate, state: Mutex::default(), started: now }
    }

    /// Claims the probe if one is due.
    pub(super) fn turn(self: &Arc<Self>, now: Instant) -> AttemptTurn {
        let mut state = lock(&self.state);
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

    /// Whether a granted attempt may still be made, as a probe or not.
    pub(super) fn allows(&self, is_probe: bool) -> bool {
        let gate = self.gate.state();
        if is_probe { gate.reasons().all(GateReason::is_probed) } else { gate.is_open() }
    }

    /// Requests one command from the queue if a probe is due and no command in hand could be it.
    pub(super) fn request_probe(&self, no_candidate: bool, now: Instant) {
        let is_due = self.next_probe(&lock(&self.state)).is_some_and(|next_probe| next_probe <= now);
        self.gate.request_probe(no_candidate && is_due);
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

    /// Begins, prolongs and ends outages. Returns whether the brake was closed and this attempt did not release it: then
    /// a rejection proves nothing about the command.
    pub(super) fn record(&self, result: AttemptResult<'_>) -> bool {
        let mut state = lock(&self.state);
        state.window.add(result.verdict, result.now.saturating_duration_since(self.started));
        if result.is_probe {
            state.record_probe(result);
        }
        // Also for attempts that were in flight when the brake closed.
        let brake_closed = state.has(GateReason::Brake);
        if let Some(reason) = state.detect(result.verdict)
            && !state.has(reason)
        {
            let hold = self.gate.close(reason, &result.evidence.to_string());
            let next_probe = result.now + probe_wait(reason, 0, result.evidence.retry_after());
            state.outages.push(Outage { reason, _hold: hold, next_probe, failed_probes: 0 });
        }
        brake_closed
    }
}

impl ApiHealthState {
    fn has(&self, reason: GateReason) -> bool {
        self.outages.iter().any(|outage| outage.reason == reason)
    }

    /// The latest of the outages' probes: one probe serves all.
    fn next_probe(&self) -> Option<Instant> {
        self.outages.iter().map(|outage| outage.next_probe).max()
    }

    /// Ends the outages that a probe proves to be over, and postpones the next probe of the others.
    fn record_probe(&mut self, result: AttemptResult<'_>) {
        self.outages.retain(|outage| !ends_outage(outage.reason, result.verdict));
        if self.outages.is_empty() {
            // Attempts from before or during the outage must not close the gate again.
            self.window.clear();
        }
        for outage in &mut self.outages {
            outage.failed_probes = outage.failed_probes.saturating_add(1);
            let wait = probe_wait(outage.reason, outage.failed_probes, result.evidence.retry_after());
            outage.next_probe = result.now + wait;
        }
    }

    /// The outage that a verdict shows, alone or with those in the window.
    fn detect(&self, verdict: Verdict) -> Option<GateReason> {
        match verdict {
            Verdict::Unauthorized => Some(GateReason::Auth),
            Verdict::Throttled => Some(GateReason::Throttle),
            Verdict::Rejected if self.window.pulls_brake() => Some(GateReason::Brake),
            Verdict::Retry | Verdict::Uncertain if self.window.trips_breaker() => Some(GateReason::Breaker),
            _ => None,
        }
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
    match reason {
        GateReason::Throttle => retry_after.unwrap_or(DEFAULT_THROTTLE).clamp(MIN_THROTTLE, MAX_THROTTLE),
        _ => Duration::from_secs(1 << failed_probes.min(10)).min(MAX_PROBE_INTERVAL),
    }
}
