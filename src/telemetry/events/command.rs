//! Events of a command's life.

use std::{fmt, time::Duration};

use tracing::{debug, warn};

use super::event::{TelemetryEvent, millis};
use crate::{
    domain::{
        command::CommandId,
        reason::{Outcome, Reason},
    },
    ports::{Clock, SystemClock},
    telemetry::state::TelemetryState,
};

/// The broker delivered a command.
#[derive(Clone, Copy, Debug)]
pub struct CommandReceived {
    /// The broker delivered it before.
    pub redelivered: bool,
    /// Time in the queue; `None` if the message has no timestamp.
    pub waited: Option<Duration>,
}

impl TelemetryEvent for CommandReceived {
    fn count(&self, state: &TelemetryState) {
        state.metrics.commands.count_received(self.redelivered, self.waited);
        state.health.record_progress();
    }

    fn log(&self) {
        let Self { redelivered, waited } = *self;
        debug!(redelivered, waited_ms = waited.map(millis), "command received");
    }
}

/// A finished command was delivered again: its event was published again, without a POST.
#[derive(Clone, Copy, Debug)]
pub struct CommandRepeated<'a> {
    /// The command's id.
    pub command_id: &'a CommandId,
    /// The recorded outcome.
    pub outcome: Outcome,
}

impl TelemetryEvent for CommandRepeated<'_> {
    fn count(&self, state: &TelemetryState) {
        state.metrics.commands.count_repeat();
        state.health.record_progress();
    }

    fn log(&self) {
        let (id, command_id, outcome) = (self.command_id, self.command_id.as_str(), self.outcome.as_str());
        debug!(command_id, outcome, "command {id:?} was finished before ({outcome}): its event was published again");
    }
}

/// A command was delayed: the broker confirmed its copy in a tier.
#[derive(Clone, Copy, Debug)]
pub struct CommandDelayed<'a> {
    /// The command's id.
    pub command_id: &'a CommandId,
    /// The tier's name.
    pub tier: &'a str,
    /// The tier's index among the configured tiers.
    pub tier_index: usize,
    /// Counted attempts so far.
    pub attempts: u32,
}

impl TelemetryEvent for CommandDelayed<'_> {
    fn count(&self, state: &TelemetryState) {
        state.metrics.commands.count_delayed(self.tier_index);
        state.health.record_delay(self.tier_index);
        state.health.record_progress();
    }

    fn log(&self) {
        let Self { command_id: id, tier, attempts, .. } = *self;
        debug!(
            command_id = id.as_str(),
            tier, attempts, "command {id:?} delayed in tier {tier} after {attempts} attempts"
        );
    }
}

/// A command is finished: the broker confirmed its outcome.
#[derive(Clone, Copy, Debug)]
pub struct CommandFinished<'a> {
    /// The command's id; `None` if the message is malformed and no id could be read.
    pub command_id: Option<&'a CommandId>,
    /// The dead letter's reason; `None` if the command succeeded.
    pub reason: Option<Reason>,
    /// The dead letter's `courier-detail`: the field and its problem, or the API's status; no personal data.
    pub detail: Option<&'a str>,
    /// Counted attempts.
    pub attempts: u32,
    /// Time from the first delivery to the outcome.
    pub age: Duration,
    /// More than one of its requests may have reached the API.
    pub possible_duplicate: bool,
}

impl TelemetryEvent for CommandFinished<'_> {
    fn count(&self, state: &TelemetryState) {
        state.metrics.commands.count_finished(self.reason, self.age, self.possible_duplicate);
        if self.reason.is_none() {
            state.health.record_success(SystemClock.now());
        }
        state.health.record_progress();
    }

    fn log(&self) {
        let Self { attempts, possible_duplicate, .. } = *self;
        let (command, age_ms) = (CommandName(self.command_id), millis(self.age));
        let command_id = self.command_id.map(CommandId::as_str);
        let outcome = self.reason.map_or(Outcome::Succeeded, Reason::outcome).as_str();
        let Some(reason) = self.reason.map(Reason::as_str) else {
            debug!(command_id, outcome, attempts, age_ms, possible_duplicate, "{command} succeeded");
            return;
        };
        let detail = self.detail.unwrap_or("no detail");
        warn!(
            command_id,
            outcome,
            reason,
            detail,
            attempts,
            age_ms,
            possible_duplicate,
            "{command} was published as a dead letter: {reason} ({detail})"
        );
    }
}

/// A command in a log message. The id is quoted and escaped, so that it cannot start a line of its own.
struct CommandName<'a>(Option<&'a CommandId>);

impl fmt::Display for CommandName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => write!(f, "command {id:?}"),
            None => f.write_str("a message without a readable id"),
        }
    }
}
