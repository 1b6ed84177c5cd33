//! Keeps the gate for the troubles that the API has with everybody: each closes it, and one command at a time may try
//! whether it is over.
//!
//! A trouble belongs to no command: whichever in hand could go when the next try is due becomes the probe. If none could,
//! one is asked for. So a trouble outlives the commands that met it, and two troubles share one probe and cannot block
//! each other.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    domain::{evidence::Evidence, verdict::Verdict, window::AttemptWindow},
    gate::{Gate, GateHold, GateReason},
};

/// What `Retry-After` may ask for: shorter is no wait, and longer is not believed.
const THROTTLE_LEAST: Duration = Duration::from_secs(1);
const THROTTLE_MOST: Duration = Duration::from_secs(3_600);
/// Without a `Retry-After`.
const THROTTLE_DEFAULT: Duration = Duration::from_secs(5);
/// The waits between probes double up to this.
const PROBE_MOST: Duration = Duration::from_secs(10);

/// One trouble, as long as it lasts.
struct Trouble {
    reason: GateReason,
    /// Dropped, it lets the gate open.
    _gate: GateHold,
    /// When the next probe may start.
    probe_at: Instant,
    /// How many have failed.
    probes: u32,
}

#[derive(Default)]
struct State {
    troubles: Vec<Trouble>,
    /// A probe is under way.
    probing: bool,
    window: AttemptWindow,
}

/// The keeper; one for a pipeline.
pub(super) struct Keeper {
    gate: Gate,
    state: Mutex<State>,
    started: Instant,
}

/// Whether a command may be attempted now.
pub(super) enum Turn {
    /// The gate is open.
    Open,
    /// It is closed, and this command is the one that tries.
    Probe(Probe),
    /// It is closed; look again at a change, and then at the latest.
    Wait(Option<Instant>),
}

/// The right to try, of one command. Dropped without a verdict, it passes to another.
pub(super) struct Probe(Arc<Keeper>);

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.state().probing = false;
    }
}

/// What an attempt showed.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) verdict: Verdict,
    /// The command was the probe.
    pub(super) by_probe: bool,
    /// What it left.
    pub(super) evidence: &'a Evidence,
}

impl Keeper {
    pub(super) fn new(gate: Gate) -> Self {
        Self { gate, state: Mutex::default(), started: Instant::now() }
    }

    /// Whose turn it is.
    pub(super) fn turn(self: &Arc<Self>) -> Turn {
        let mut state = self.state();
        if self.gate.state().is_open() {
            return Turn::Open;
        }
        match self.probe_at(&state) {
            Some(probe_at) if probe_at <= Instant::now() => {
                state.probing = true;
                Turn::Probe(Probe(self.clone()))
            }
            later => Turn::Wait(later),
        }
    }

    /// Whether an attempt that was granted may still be made, as a probe or not.
    pub(super) fn allows(&self, as_probe: bool) -> bool {
        let gate = self.gate.state();
        if as_probe { gate.reasons().all(GateReason::is_probed) } else { gate.is_open() }
    }

    /// Asks for a command to try with when a try is due and `none_in_hand` could be it.
    pub(super) fn ask_for_probe(&self, none_in_hand: bool) {
        let due = self.probe_at(&self.state()).is_some_and(|probe_at| probe_at <= Instant::now());
        self.gate.request_probe(none_in_hand && due);
    }

    /// How long no attempt can start, as far as that is known.
    pub(super) fn wait(&self) -> Duration {
        let probe_at = self.state().troubles.iter().map(|trouble| trouble.probe_at).max();
        probe_at.map(|probe_at| probe_at.saturating_duration_since(Instant::now())).unwrap_or_default()
    }

    /// What was wrong for this reason may be over: the next probe may start at once.
    pub(super) fn hurry(&self, reason: GateReason) {
        let mut state = self.state();
        for trouble in state.troubles.iter_mut().filter(|trouble| trouble.reason == reason) {
            trouble.probe_at = Instant::now();
        }
    }

    /// When a probe may start; `None` while one is under way, nothing is wrong, or no probe could mend it.
    fn probe_at(&self, state: &State) -> Option<Instant> {
        let may = !state.probing && self.gate.state().reasons().all(GateReason::is_probed);
        state.troubles.iter().map(|trouble| trouble.probe_at).max().filter(|_| may)
    }

    /// An attempt ended: troubles begin, go on or are over. Tells whether the brake is on and this attempt does not
    /// release it: then its rejection says nothing about the command.
    pub(super) fn judge(&self, shown: Shown<'_>) -> bool {
        let mut state = self.state();
        state.window.add(shown.verdict, self.started.elapsed());
        if shown.by_probe {
            state.probed(shown);
        }
        // What was under way when the brake was pulled says no more about its command than a probe does.
        let braked = state.has(GateReason::Brake);
        if let Some(reason) = state.met(shown.verdict)
            && !state.has(reason)
        {
            let gate = self.gate.close(reason, &shown.evidence.to_string());
            let probe_at = Instant::now() + wait(reason, 0, shown.evidence.retry_after());
            state.troubles.push(Trouble { reason, _gate: gate, probe_at, probes: 0 });
        }
        braked
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has(&self, reason: GateReason) -> bool {
        self.troubles.iter().any(|trouble| trouble.reason == reason)
    }

    /// A probe ends the troubles that it proves to be over; for the others the next one waits longer.
    fn probed(&mut self, shown: Shown<'_>) {
        self.troubles.retain(|trouble| !is_over(trouble.reason, shown.verdict));
        if self.troubles.is_empty() {
            // What was before says nothing any more.
            self.window.clear();
        }
        for trouble in &mut self.troubles {
            trouble.probes = trouble.probes.saturating_add(1);
            trouble.probe_at = Instant::now() + wait(trouble.reason, trouble.probes, shown.evidence.retry_after());
        }
    }

    /// The trouble that a verdict shows, by itself or with those before it.
    fn met(&self, verdict: Verdict) -> Option<GateReason> {
        match verdict {
            Verdict::Unauthorized => Some(GateReason::Auth),
            Verdict::Throttled => Some(GateReason::Throttle),
            Verdict::Rejected if self.window.pulls_brake() => Some(GateReason::Brake),
            Verdict::Retry | Verdict::Uncertain if self.window.trips_breaker() => Some(GateReason::Breaker),
            _ => None,
        }
    }
}

/// Only an answer about the command itself proves that a trouble is over; and the brake wants a success.
fn is_over(reason: GateReason, verdict: Verdict) -> bool {
    match verdict {
        Verdict::Delivered => true,
        Verdict::Rejected => reason != GateReason::Brake,
        Verdict::Retry | Verdict::Throttled | Verdict::Unauthorized | Verdict::Uncertain => false,
    }
}

fn wait(reason: GateReason, probes: u32, retry_after: Option<Duration>) -> Duration {
    match reason {
        GateReason::Throttle => retry_after.unwrap_or(THROTTLE_DEFAULT).clamp(THROTTLE_LEAST, THROTTLE_MOST),
        _ => Duration::from_secs(1 << probes.min(10)).min(PROBE_MOST),
    }
}
