//! One struct for each thing that happens; recording it both logs and counts.
//!
//! Levels: what happens to every command is `debug` (`trace` for a confirmed publish); an end that somebody must look
//! at, a dead letter, is `warn`; a change of the daemon's state is `info`, or `warn` and `error` when it needs a hand.

mod api;
mod broker;
mod command;
mod gate;
mod journal;

pub use self::{
    api::CredentialRefresh,
    broker::{
        ConnectFailed, Connected, ConnectionLost, ConsumerStarted, ConsumerStopped, ConsumersCounted, PublishConfirmed,
        PublishFailed, TOPOLOGY_REMEDY, TopologyMissing, TopologyVerified,
    },
    command::{
        AnswerUnread, AttemptMade, AttemptOrphaned, CommandDelayed, CommandFinished, CommandReceived, CommandRepeated,
        OrderEvents, RateWaited,
    },
    gate::{GateClosed, GateOpened, remedy},
    journal::{JournalHolds, JournalWeakened, JournalWrote},
};
use super::Telemetry;

/// Something that happened. Record it with [`Telemetry::record`], which does both.
pub trait Event {
    /// Counts it and keeps what the probes need of it.
    fn count(&self, telemetry: &Telemetry);

    /// Writes its line: readable alone, with the same facts as fields.
    fn log(&self);
}

/// Milliseconds for a log field.
fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
