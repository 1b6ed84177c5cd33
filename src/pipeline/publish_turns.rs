//! The publishes that the broker does not accept, one at a time.
//!
//! An exchange copies a message to every bound queue that has room, even if another one refuses it. So while a message is
//! refused, only one publish at a time probes, after a growing wait, and all others wait for their turn: a full queue
//! costs the other queues at most one copy per probe.

use std::sync::Mutex;

use tokio::sync::{self, MutexGuard};

use crate::{domain::command::CommandId, ports::PublishError, sync::lock};

/// The line of waiting publishes.
#[derive(Debug, Default)]
pub(super) struct PublishTurns {
    /// Held by the publish whose turn it is. Fair, so that a failed probe goes behind the others: those that the broker
    /// would accept do not wait for one that it never does.
    turn: sync::Mutex<()>,
    state: Mutex<TurnState>,
}

/// Reset when the last publish leaves the line.
#[derive(Debug, Default)]
struct TurnState {
    /// Publishes in the line.
    waiting: usize,
    /// Failures since the last confirm.
    failures: u32,
    last_error: Option<PublishError>,
    /// The failed publishes that were reported, one for each destination and error.
    reported: Vec<FailedPublish>,
}

/// A publish that the broker did not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FailedPublish {
    /// `None` if no id could be read.
    pub(super) command_id: Option<CommandId>,
    /// Exchange and routing key.
    pub(super) destination: String,
    pub(super) error: PublishError,
}

impl FailedPublish {
    /// The problem for log and `/status`.
    pub(super) fn problem(&self) -> String {
        let Self { command_id, destination, error } = self;
        match command_id {
            Some(id) => format!("the publish for command {id:?} to {destination} failed: {error}"),
            None => format!("a publish to {destination} failed: {error}"),
        }
    }
}

/// A place in the line, until it is dropped.
pub(super) struct PublishTurn<'a>(&'a PublishTurns);

impl PublishTurns {
    /// Whether publishes wait: a new one must queue behind them.
    pub(super) fn is_blocked(&self) -> bool {
        lock(&self.state).waiting > 0
    }

    /// Enters the line; `error` is why, or `None` to wait behind others.
    pub(super) fn enter(&self, error: Option<PublishError>) -> PublishTurn<'_> {
        let mut state = lock(&self.state);
        state.waiting += 1;
        if error.is_some() {
            state.failures = state.failures.max(1);
            state.last_error = error;
        }
        PublishTurn(self)
    }
}

impl PublishTurn<'_> {
    /// Waits for the turn, which lasts until the guard is dropped. Cancel safe.
    pub(super) async fn take(&self) -> MutexGuard<'_, ()> {
        self.0.turn.lock().await
    }

    /// Failures since the last confirm.
    pub(super) fn failures(&self) -> u32 {
        lock(&self.0.state).failures
    }

    /// Whether the broker rejected the last publish, so that another one soon would fail, too.
    pub(super) fn is_rejected(&self) -> bool {
        let error = lock(&self.0.state).last_error;
        matches!(error, Some(PublishError::Refused | PublishError::Returned))
    }

    pub(super) fn record_failure(&self, error: PublishError) {
        let mut state = lock(&self.0.state);
        state.failures = state.failures.saturating_add(1);
        state.last_error = Some(error);
    }

    pub(super) fn record_confirm(&self, command_id: Option<&CommandId>) {
        let mut state = lock(&self.0.state);
        (state.failures, state.last_error) = (0, None);
        state.reported.retain(|reported| reported.command_id.as_ref() != command_id);
    }

    /// Records the failure as reported; returns `true` if none with this destination and error was.
    pub(super) fn must_report(&self, failed: &FailedPublish) -> bool {
        let mut state = lock(&self.0.state);
        let is_same = |known: &FailedPublish| known.destination == failed.destination && known.error == failed.error;
        let is_new = !state.reported.iter().any(is_same);
        if is_new {
            state.reported.push(failed.clone());
        }
        is_new
    }
}

impl Drop for PublishTurn<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.waiting = state.waiting.saturating_sub(1);
        if state.waiting == 0 {
            *state = TurnState::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failed_destination_is_reported_once() {
        let turns = PublishTurns::default();
        let turn = turns.enter(Some(PublishError::Refused));
        let failed = |id: &str, destination: &str, error| {
            let command_id = Some(CommandId::new(id).expect("a short id"));
            FailedPublish { command_id, destination: destination.to_owned(), error }
        };
        let (event, letter) =
            (failed("c-1", "events", PublishError::Refused), failed("c-2", "dead", PublishError::Refused));
        assert!(turn.must_report(&event) && turn.must_report(&letter));
        assert!(!turn.must_report(&event) && !turn.must_report(&letter), "while they take turns");
        assert!(!turn.must_report(&failed("c-3", "events", PublishError::Refused)), "the same problem");
        assert!(turn.must_report(&failed("c-1", "events", PublishError::Returned)), "another problem");
        turn.record_confirm(letter.command_id.as_ref());
        assert!(turn.must_report(&letter), "again after a confirm");
    }
}
