//! The one switch between taking commands and leaving them in the queue.
//!
//! A component that cannot go on closes the gate for a [`GateReason`] and keeps the [`GateHold`]; dropping the hold
//! releases it. The gate is open while no hold exists, so a component can neither forget nor overrule another's reason.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use tokio::sync::watch;

use crate::sync::lock;

/// Why the gate is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GateReason {
    /// The API does not accept the credential.
    Auth,
    /// The API requested a pause.
    Throttle,
    /// Too many of the recent attempts failed: the API is down.
    Breaker,
    /// Nearly all recent commands were rejected: a deploy or a path is wrong.
    Brake,
    /// Outcomes cannot be published.
    Blocked,
    /// The journal cannot be written.
    Journal,
    /// Paused by an operator.
    Operator,
    /// The daemon is shutting down.
    Drain,
}

impl GateReason {
    /// All reasons, for closed label sets.
    pub const ALL: [Self; 8] = [
        Self::Auth,
        Self::Throttle,
        Self::Breaker,
        Self::Brake,
        Self::Blocked,
        Self::Journal,
        Self::Operator,
        Self::Drain,
    ];

    /// The label in metrics, logs and `/status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Throttle => "throttle",
            Self::Breaker => "breaker",
            Self::Brake => "brake",
            Self::Blocked => "blocked",
            Self::Journal => "journal",
            Self::Operator => "operator",
            Self::Drain => "drain",
        }
    }

    /// Whether one attempt can prove that the problem is over.
    #[must_use]
    pub const fn is_probed(self) -> bool {
        matches!(self, Self::Auth | Self::Throttle | Self::Breaker | Self::Brake)
    }
}

impl fmt::Display for GateReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The number of holds per reason at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateState {
    holds: [u32; GateReason::ALL.len()],
    probe_requested: bool,
    resumes: u32,
}

impl GateState {
    /// Whether commands may be taken and attempts may start.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.holds.iter().all(|holds| *holds == 0)
    }

    /// Whether the gate is closed and one command is requested to probe whether it may open.
    #[must_use]
    pub fn probe_requested(&self) -> bool {
        self.probe_requested && !self.is_open()
    }

    /// How often an operator resumed, for comparison with an earlier count.
    #[must_use]
    pub const fn resumes(&self) -> u32 {
        self.resumes
    }

    /// Whether this reason keeps the gate closed.
    #[must_use]
    pub fn is_closed_by(&self, reason: GateReason) -> bool {
        self.holds.get(reason as usize).is_some_and(|holds| *holds > 0)
    }

    /// The reasons that keep the gate closed, in the order of [`GateReason::ALL`].
    pub fn reasons(&self) -> impl Iterator<Item = GateReason> + '_ {
        GateReason::ALL.into_iter().filter(|reason| self.is_closed_by(*reason))
    }

    fn add_hold(&mut self, reason: GateReason) {
        if let Some(holds) = self.holds.get_mut(reason as usize) {
            *holds += 1;
        }
    }

    fn remove_hold(&mut self, reason: GateReason) {
        if let Some(holds) = self.holds.get_mut(reason as usize) {
            *holds = holds.saturating_sub(1);
        }
    }
}

/// Is notified when a reason closes the gate and when that reason ends.
///
/// The calls come one at a time and in the order of the changes. A slow observer delays the next change, but no reader of
/// the state. An observer must not take, report or drop a hold.
pub trait GateObserver: fmt::Debug + Send + Sync {
    /// The first hold of `reason` was taken (`None`: unreported), or [`GateHold::report`] was called.
    fn closed(&self, reason: GateReason, problem: Option<&str>);

    /// The last hold of `reason` was dropped; other reasons may still keep the gate closed. Not called for
    /// [`GateReason::Drain`], which ends with the process.
    fn opened(&self, reason: GateReason);
}

/// A handle on the gate; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    state: watch::Sender<GateState>,
    /// Held from a change of the holds until the observer is notified of it.
    change: Arc<Mutex<()>>,
    observer: Option<Arc<dyn GateObserver>>,
}

impl Gate {
    /// An open gate that notifies `observer`; [`Gate::default`] notifies none.
    #[must_use]
    pub fn observed_by(observer: Arc<dyn GateObserver>) -> Self {
        Self { observer: Some(observer), ..Self::default() }
    }

    /// Closes the gate until the hold is dropped. Holds of one reason add up; only the problem of the first is reported.
    /// `problem` is the observed cause, without personal data or secrets.
    pub fn close(&self, reason: GateReason, problem: &str) -> GateHold {
        self.add_hold(reason, Some(problem))
    }

    /// Closes the gate like [`Gate::close`], for a problem that the caller logs itself.
    pub fn close_unreported(&self, reason: GateReason) -> GateHold {
        self.add_hold(reason, None)
    }

    fn add_hold(&self, reason: GateReason, problem: Option<&str>) -> GateHold {
        let _change = lock(&self.change);
        let is_first = !self.state().is_closed_by(reason);
        self.state.send_modify(|state| state.add_hold(reason));
        if let Some(observer) = self.observer.as_ref().filter(|_| is_first) {
            observer.closed(reason, problem);
        }
        GateHold { gate: self.clone(), reason }
    }

    /// Sets whether the consumer should take one command while the gate is closed.
    pub fn request_probe(&self, wanted: bool) {
        self.state.send_if_modified(|state| std::mem::replace(&mut state.probe_requested, wanted) != wanted);
    }

    /// Records that an operator resumed: the cause of a closed brake or breaker may be mended.
    pub fn resume(&self) {
        self.state.send_modify(|state| state.resumes = state.resumes.wrapping_add(1));
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> GateState {
        *self.state.borrow()
    }

    /// Subscribes to the state; changes in quick succession may be seen as one.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<GateState> {
        self.state.subscribe()
    }

    /// Waits until the state satisfies `condition`; returns at once if it does. Cancel safe.
    pub async fn until(&self, condition: impl FnMut(&GateState) -> bool) {
        // `wait_for` fails only when every sender is dropped, and `self` is one.
        drop(self.state.subscribe().wait_for(condition).await);
    }
}

/// Keeps the gate closed for one reason until it is dropped.
#[derive(Debug)]
#[must_use = "the gate opens again when the hold is dropped"]
pub struct GateHold {
    gate: Gate,
    reason: GateReason,
}

impl GateHold {
    /// Reports the current problem, of a hold taken with [`Gate::close_unreported`] or when it has changed.
    pub fn report(&self, problem: &str) {
        let _change = lock(&self.gate.change);
        if let Some(observer) = &self.gate.observer {
            observer.closed(self.reason, Some(problem));
        }
    }
}

impl Drop for GateHold {
    fn drop(&mut self) {
        let Self { gate, reason } = self;
        let _change = lock(&gate.change);
        gate.state.send_modify(|state| state.remove_hold(*reason));
        let is_over = *reason != GateReason::Drain && !gate.state().is_closed_by(*reason);
        if let Some(observer) = gate.observer.as_ref().filter(|_| is_over) {
            observer.opened(*reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{OnceLock, mpsc},
        thread,
        time::Duration,
    };

    use super::*;

    #[derive(Debug, Default)]
    struct Recorder(Mutex<Vec<String>>);

    impl GateObserver for Recorder {
        fn closed(&self, reason: GateReason, problem: Option<&str>) {
            self.0.lock().unwrap().push(format!("{reason} closed: {}", problem.unwrap_or("unreported")));
        }

        fn opened(&self, reason: GateReason) {
            self.0.lock().unwrap().push(format!("{reason} opened"));
        }
    }

    fn observed() -> (Gate, impl FnMut() -> Vec<String>) {
        let recorder = Arc::new(Recorder::default());
        let gate = Gate::observed_by(recorder.clone());
        (gate, move || std::mem::take(&mut *recorder.0.lock().unwrap()))
    }

    #[test]
    fn gate_opens_when_the_last_hold_is_dropped() {
        let gate = Gate::default();
        let auth = gate.close(GateReason::Auth, "401");
        let blocked = [gate.close(GateReason::Blocked, "full"), gate.close(GateReason::Blocked, "alarm")];
        assert_eq!(gate.state().reasons().collect::<Vec<_>>(), [GateReason::Auth, GateReason::Blocked]);
        drop(auth);
        let [first, second] = blocked;
        drop(first);
        assert!(!gate.state().is_open());
        drop(second);
        assert!(gate.state().is_open());
    }

    #[test]
    fn observer_sees_first_hold_and_last_drop_per_reason() {
        let (gate, mut seen) = observed();
        let first = gate.close(GateReason::Auth, "401");
        let second = gate.close(GateReason::Auth, "403");
        let other = gate.close(GateReason::Brake, "404");
        assert_eq!(seen(), ["auth closed: 401", "brake closed: 404"]);
        drop(first);
        assert_eq!(seen(), Vec::<String>::new());
        drop(second);
        assert_eq!(seen(), ["auth opened"]);
        drop(gate.close(GateReason::Auth, "401 again"));
        drop(other);
        assert_eq!(seen(), ["auth closed: 401 again", "auth opened", "brake opened"]);
    }

    #[test]
    fn observer_sees_no_end_of_a_drain() {
        let (gate, mut seen) = observed();
        drop(gate.close(GateReason::Drain, "SIGTERM"));
        assert_eq!(seen(), ["drain closed: SIGTERM"]);
        assert!(gate.state().is_open());
    }

    #[test]
    fn unreported_hold_can_report_its_problem_later() {
        let (gate, mut seen) = observed();
        let hold = gate.close_unreported(GateReason::Blocked);
        assert!(gate.state().is_closed_by(GateReason::Blocked));
        hold.report("disk alarm");
        drop(hold);
        assert_eq!(seen(), ["blocked closed: unreported", "blocked closed: disk alarm", "blocked opened"]);
    }

    /// Records the reasons that another thread reads during each call.
    #[derive(Debug, Default)]
    struct StateReadingObserver {
        gate: OnceLock<Gate>,
        read: Mutex<Vec<Vec<GateReason>>>,
    }

    impl StateReadingObserver {
        fn read_in_another_thread(&self) {
            let (gate, (sender, state)) = (self.gate.get().unwrap().clone(), mpsc::channel());
            thread::spawn(move || sender.send(gate.state()));
            let state = state.recv_timeout(Duration::from_secs(5)).expect("the state is readable");
            self.read.lock().unwrap().push(state.reasons().collect());
        }
    }

    impl GateObserver for StateReadingObserver {
        fn closed(&self, _: GateReason, _: Option<&str>) {
            self.read_in_another_thread();
        }

        fn opened(&self, _: GateReason) {
            self.read_in_another_thread();
        }
    }

    #[test]
    fn slow_observer_does_not_block_readers_of_the_state() {
        let reader = Arc::new(StateReadingObserver::default());
        let gate = Gate::observed_by(reader.clone());
        reader.gate.set(gate.clone()).unwrap();
        let hold = gate.close_unreported(GateReason::Blocked);
        hold.report("disk alarm");
        drop(hold);
        assert_eq!(*reader.read.lock().unwrap(), [vec![GateReason::Blocked], vec![GateReason::Blocked], vec![]]);
    }

    #[test]
    fn probe_is_requested_only_while_the_gate_is_closed() {
        let gate = Gate::default();
        gate.request_probe(true);
        assert!(!gate.state().probe_requested());
        let hold = gate.close(GateReason::Auth, "401");
        assert!(gate.state().probe_requested());
        gate.request_probe(false);
        assert!(!gate.state().probe_requested());
        drop(hold);
    }

    #[tokio::test]
    async fn until_returns_after_the_last_hold_is_dropped() {
        let gate = Gate::default();
        let hold = gate.close(GateReason::Throttle, "429");
        let waiter = gate.until(GateState::is_open);
        tokio::pin!(waiter);
        assert!(futures_util::poll!(waiter.as_mut()).is_pending());
        drop(hold);
        waiter.await;
    }
}
