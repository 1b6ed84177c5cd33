//! What the journal remembers of a send, and what that says about the next step.

use bytes::Bytes;

use super::command::CommandId;

/// What a send is remembered by. A replay is a new send by intent, so it has a record of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SendKey {
    /// The command.
    pub command_id: CommandId,
    /// How often an operator replayed it: 0, 1, …
    pub replay: u32,
}

/// What is on record of a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Nothing: no attempt was started within the journal's retention.
    Unknown,
    /// An attempt is under way, by an owner that lives: this daemon or another one.
    Held,
    /// An attempt was started by an owner that is gone: the request may have left, and nobody knows what became of it.
    Orphaned,
    /// Every attempt so far is accounted for, and none of them was the end.
    Waiting {
        /// One of them may have reached the API.
        uncertain: bool,
    },
    /// It reached its end.
    Ended(Ended),
}

impl Record {
    /// Whether an attempt may be started on it: nobody is at it, and it has no end.
    #[must_use]
    pub const fn is_free(&self) -> bool {
        matches!(self, Self::Unknown | Self::Orphaned | Self::Waiting { .. })
    }
}

/// The end of a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The event as it was told, JSON.
    pub event: Bytes,
    /// The end has a dead letter that is not known to be stored.
    pub owes_letter: bool,
}
