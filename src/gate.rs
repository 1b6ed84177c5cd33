//! The one switch between "take commands" and "leave them in the queue".
//!
//! Whoever cannot go on closes the gate for a reason and holds it closed by a [`GateHold`]; dropping the hold opens it
//! again. The gate is open when nobody holds it. Nobody else can open it, so no reason can be forgotten or overruled.

use std::fmt;

use tokio::sync::watch;

/// Why the gate is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GateReason {
    /// The API does not accept our credential.
    Auth,
    /// The API asked us to wait.
    Throttle,
    /// Half of the last attempts failed: the API is down.
    Breaker,
    /// Nearly all of the last commands were rejected: a deploy or a path is wrong.
    Brake,
    /// What becomes of commands cannot be published.
    Blocked,
    /// The journal cannot be written: what was started could not be remembered.
    Journal,
    /// Paused by hand.
    Operator,
    /// The daemon is shutting down.
    Drain,
}

impl GateReason {
    /// All of them, for closed label sets.
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

    /// The word in metrics, logs and `/status`.
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

    /// Whether trying one command can show that the trouble is over.
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

/// How many holds each reason has; a copy of the gate's state at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateState {
    holds: [u32; GateReason::ALL.len()],
    /// The gate is closed, and one command is wanted to try whether it must be.
    probe_requested: bool,
}

impl GateState {
    /// Whether commands may be taken and attempts may start.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.holds.iter().all(|holds| *holds == 0)
    }

    /// Whether one command is wanted although the gate is closed.
    #[must_use]
    pub fn probe_requested(&self) -> bool {
        self.probe_requested && !self.is_open()
    }

    /// Whether this reason holds the gate closed.
    #[must_use]
    pub fn is_closed_by(&self, reason: GateReason) -> bool {
        self.holds.get(reason as usize).is_some_and(|holds| *holds > 0)
    }

    /// The reasons that hold it closed, in a fixed order.
    pub fn reasons(&self) -> impl Iterator<Item = GateReason> + '_ {
        GateReason::ALL.into_iter().filter(|reason| self.is_closed_by(*reason))
    }
}

/// A handle on the gate; clones share it.
#[derive(Clone, Debug)]
pub struct Gate {
    state: watch::Sender<GateState>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { state: watch::Sender::new(GateState::default()) }
    }
}

impl Gate {
    /// Closes the gate until the hold is dropped. Holds of one reason add up.
    #[must_use = "the gate opens again when the hold is dropped"]
    pub fn close(&self, reason: GateReason) -> GateHold {
        self.state.send_modify(|state| add(state, reason));
        GateHold { gate: self.clone(), reason }
    }

    /// Asks whoever takes commands for one, though the gate is closed; or no longer.
    pub fn request_probe(&self, wanted: bool) {
        self.state.send_if_modified(|state| std::mem::replace(&mut state.probe_requested, wanted) != wanted);
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> GateState {
        *self.state.borrow()
    }

    /// Follows the state; the receiver sees every change, though not each one apart.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<GateState> {
        self.state.subscribe()
    }

    /// Waits until `wanted` holds of the state; returns at once if it does.
    pub async fn until(&self, wanted: impl FnMut(&GateState) -> bool) {
        // An error would mean that the sender is gone, and we hold it.
        drop(self.state.subscribe().wait_for(wanted).await);
    }
}

fn add(state: &mut GateState, reason: GateReason) {
    if let Some(holds) = state.holds.get_mut(reason as usize) {
        *holds += 1;
    }
}

/// Keeps the gate closed for its reason; the gate counts it out when it is dropped.
#[derive(Debug)]
pub struct GateHold {
    gate: Gate,
    reason: GateReason,
}

impl GateHold {
    /// What it is held for.
    #[must_use]
    pub const fn reason(&self) -> GateReason {
        self.reason
    }
}

impl Drop for GateHold {
    fn drop(&mut self) {
        self.gate.state.send_modify(|state| {
            if let Some(holds) = state.holds.get_mut(self.reason as usize) {
                *holds = holds.saturating_sub(1);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_when_every_hold_is_gone() {
        let gate = Gate::default();
        let auth = gate.close(GateReason::Auth);
        let blocked = [gate.close(GateReason::Blocked), gate.close(GateReason::Blocked)];
        assert_eq!(gate.state().reasons().collect::<Vec<_>>(), [GateReason::Auth, GateReason::Blocked]);
        drop(auth);
        let [first, second] = blocked;
        drop(first);
        assert!(!gate.state().is_open());
        drop(second);
        assert!(gate.state().is_open());
    }

    #[test]
    fn a_probe_is_wanted_only_of_a_closed_gate() {
        let gate = Gate::default();
        gate.request_probe(true);
        assert!(!gate.state().probe_requested());
        let hold = gate.close(GateReason::Auth);
        assert!(gate.state().probe_requested());
        gate.request_probe(false);
        assert!(!gate.state().probe_requested());
        drop(hold);
    }

    #[tokio::test]
    async fn until_wakes_when_the_last_hold_goes() {
        let gate = Gate::default();
        let hold = gate.close(GateReason::Throttle);
        let waiter = gate.until(GateState::is_open);
        tokio::pin!(waiter);
        assert!(futures_util::poll!(waiter.as_mut()).is_pending());
        drop(hold);
        waiter.await;
    }
}
