//! The journal's view of a send: its key, its record, its recorded outcome.

use bytes::Bytes;

use super::command::CommandId;

/// The key of a record. A replay by an operator is a new send on purpose, so it has a record of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SendKey {
    /// The command's id.
    pub command_id: CommandId,
    /// The replay count: 0, 1, …
    pub replay: u32,
}

/// The recorded state of a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// No record. Proves that no attempt was started only while the journal is complete.
    Unknown,
    /// An attempt is in progress by a live owner: this daemon or another one.
    InProgress,
    /// An attempt was started by an owner that is gone: the request may have left, so its verdict is uncertain.
    Orphaned {
        /// The attempts that counted before it.
        counted: u32,
    },
    /// Every attempt so far is accounted for and there is no outcome yet.
    Waiting(AttemptHistory),
    /// The send has its outcome.
    Finished(RecordedOutcome),
}

impl Record {
    /// Whether another attempt may start: none is in progress and there is no outcome.
    #[must_use]
    pub const fn allows_attempt(&self) -> bool {
        matches!(self, Self::Unknown | Self::Orphaned { .. } | Self::Waiting(_))
    }
}

/// The attempts of a send that are accounted for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttemptHistory {
    /// Attempts that count towards `delivery.max_attempts`, over all deliveries.
    pub counted: u32,
    /// One of the attempts may have reached the API.
    pub uncertain: bool,
}

/// What a missing record proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// No attempt was started: the journal is complete.
    None,
    /// Nothing, but only this process attempts commands. It knows which commands it was the first to receive.
    SoleOwner,
    /// Nothing: other processes may attempt commands without a record here.
    SharedQueue,
}

/// The outcome of a send as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedOutcome {
    /// The event's JSON as published.
    pub event: Bytes,
    /// The outcome has a dead letter that is not known to be stored.
    pub letter_pending: bool,
    /// The broker has confirmed the event.
    pub published: bool,
}

impl RecordedOutcome {
    /// Whether the event or the dead letter is not known to be stored.
    #[must_use]
    pub const fn is_unpublished(&self) -> bool {
        !self.published || self.letter_pending
    }
}
