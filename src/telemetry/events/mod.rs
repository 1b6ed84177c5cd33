//! One struct per event; recording it both logs and counts.
//!
//! Log levels: an event of every command is `debug`, a confirmed publish `trace`. A dead letter is `warn`. A change of
//! the daemon's state is `info`, or `warn` or `error` if an operator may have to act.

mod api;
mod broker;
mod command;
mod event;
mod gate;
mod journal;
mod publish;

pub use self::{
    api::CredentialRefresh,
    broker::{
        ConnectFailed, Connected, ConnectionLost, ConsumerStarted, ConsumerStopped, ConsumersCounted, TOPOLOGY_REMEDY,
        TopologyMissing, TopologyVerified,
    },
    command::{
        AnswerUnread, AttemptMade, AttemptOrphaned, CommandDelayed, CommandFinished, CommandReceived, CommandRepeated,
        OrderEvents, RateWaited,
    },
    event::TelemetryEvent,
    gate::{GateClosed, GateOpened, remedy},
    journal::{JournalDegraded, JournalSize, JournalWritten},
    publish::{PublishConfirmed, PublishFailed},
};
