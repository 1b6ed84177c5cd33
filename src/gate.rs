//! The one switch between "take commands" and "leave them in the queue".
//!
//! Whoever cannot go on closes the gate for a reason and holds it closed by a [`Hold`]; dropping the hold opens it
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
    /// What becomes of commands cannot be published.
    Blocked,
    /// The daemon is shutting down.
    Drain,
}

impl GateReason {
    /// All of them, for closed label sets.
    pub const ALL: [Self; 4] = [Self::Auth, Self::Throttle, Self::Blocked, Self::Drain];

    /// The word in metrics, logs and `/status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Throttle => "throttle",
            Self::Blocked => "blocked",
            Self::Drain => "drain",
        }
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
}

impl GateState {
    /// Whether commands may be taken and attempts may start.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.holds.iter().all(|holds| *holds == 0)
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
    pub fn close(&self, reason: GateReason) -> Hold {
        self.state.send_modify(|state| add(state, reason));
        Hold { gate: self.clone(), reason }
    }

    /// Closes the gate unless this reason holds it already: of many that hit the same trouble, one gets the hold.
    #[must_use = "the gate opens again when the hold is dropped"]
    pub fn try_close(&self, reason: GateReason) -> Option<Hold> {
        let mut first = false;
        self.state.send_if_modified(|state| {
            first = !state.is_closed_by(reason);
            if first {
                add(state, reason);
            }
            first
        });
        first.then(|| Hold { gate: self.clone(), reason })
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
pub struct Hold {
    gate: Gate,
    reason: GateReason,
}

impl Hold {
    /// What it is held for.
    #[must_use]
    pub const fn reason(&self) -> GateReason {
        self.reason
    }
}

impl Drop for Hold {
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
    fn of_many_that_hit_the_same_trouble_one_holds_the_gate() {
        let gate = Gate::default();
        let hold = gate.try_close(GateReason::Auth);
        assert!(hold.is_some());
        assert!(gate.try_close(GateReason::Auth).is_none());
        assert!(gate.try_close(GateReason::Throttle).is_some(), "another reason is another trouble");
        drop(hold);
        assert!(gate.try_close(GateReason::Auth).is_some());
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
