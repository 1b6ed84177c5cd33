//! One struct per event; recording it both logs and counts.
//!
//! Log levels: an event of every command is `debug`, a confirmed publish `trace`. A dead letter is `warn`. A change of
//! the daemon's state is `info`, or `warn` or `error` if an operator may have to act.

mod api;
mod attempt;
mod broker;
mod command;
mod event;
mod gate;
mod isolation;
mod journal;
mod order;
mod publish;

pub use self::{
    api::CredentialRefresh,
    attempt::{AnswerUnread, AttemptMade, AttemptOrphaned, RateWaited},
    broker::{
        ConnectFailed, Connected, ConnectionLost, ConsumerStarted, ConsumerStopped, ConsumersCounted,
        STUCK_TIER_REMEDY, TOPOLOGY_REMEDY, TierWatched, TopologyMissing, TopologyVerified,
    },
    command::{CommandDelayed, CommandFinished, CommandReceived, CommandRepeated},
    event::TelemetryEvent,
    gate::{GateClosed, GateOpened, remedy},
    isolation::{IsolationEnded, IsolationStarted},
    journal::{JournalDegraded, JournalDoubtEnded, JournalInDoubt, JournalSize, JournalWritten},
    order::{OrderEvents, OrderSuspended},
    publish::{PublishConfirmed, PublishFailed},
};
