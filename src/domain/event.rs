//! The event: what became of a command, told once.

mod message;
mod response;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

pub use self::{message::EventFormat, response::Response};
use super::{
    command::{Command, CommandId},
    decode::Malformed,
    detail::Detail,
    json,
    reason::{Outcome, Reason},
};

/// What the ids of our events are made under. Fixed for ever: consumers drop repeats by these ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x7d5c_1f3e_60b4_4c0a_9a51_c0e1_e27e_d0a1);

/// What became of a command, in the order of the wire. It holds no address, no text and no token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The same for the same command, replay and outcome, so that a consumer can drop repeats.
    pub event_id: Uuid,
    /// Whose outcome it is.
    pub command_id: CommandId,
    /// The end that the command reached.
    pub outcome: Outcome,
    /// The command's channel; `None` when it could not be read.
    pub channel_type: Option<String>,
    /// When the outcome was known; told to the millisecond.
    #[serde(with = "milliseconds")]
    pub occurred_at: Timestamp,
    /// POSTs that counted, over all deliveries.
    pub attempts: u32,
    /// An attempt before the last one may have reached the API.
    pub possible_duplicate: bool,
    /// Told again from the journal.
    pub repeated: bool,
    /// What the API answered; `None` when it could not be parsed or the outcome is another.
    pub response: Option<Response>,
    /// Why it did not succeed.
    pub failure: Option<Failure>,
    /// How long it took.
    pub timing: Timing,
    /// The command's own, byte for byte.
    pub metadata: Option<Box<RawValue>>,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandResult {
    /// The API took it; with its answer when that could be parsed.
    Succeeded(Option<Response>),
    /// It did not, or nobody knows: the reason tells the outcome.
    Failed(Failure),
}

impl CommandResult {
    /// Why it did not succeed.
    #[must_use]
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Succeeded(_) => None,
            Self::Failed(failure) => Some(failure.reason),
        }
    }
}

/// Why a command did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The reason, as in the dead letter.
    pub reason: Reason,
    /// The API's last status code, when there was one.
    pub http_status: Option<u16>,
    /// A short explanation.
    pub detail: Detail,
}

/// Where the time went, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timing {
    /// From first seen to the start of the last attempt.
    pub waited_ms: u64,
    /// The last attempt.
    pub api_ms: u64,
    /// From first seen to the outcome.
    pub total_ms: u64,
}

/// What the daemon knows about the end of a command besides the command itself.
#[derive(Clone, Copy, Debug)]
pub struct EventContext {
    /// How often an operator replayed the command.
    pub replay: u32,
    /// See [`Event::occurred_at`].
    pub occurred_at: Timestamp,
    /// See [`Event::attempts`].
    pub attempts: u32,
    /// See [`Event::possible_duplicate`].
    pub possible_duplicate: bool,
    /// See [`Event::timing`].
    pub timing: Timing,
}

impl Event {
    /// Tells the end of a command.
    #[must_use]
    pub fn of_command(command: &Command, ending: CommandResult, circumstances: &EventContext) -> Self {
        let mut event = Self::new(command.id.clone(), Some(command.channel_type.clone()), ending, circumstances);
        event.metadata.clone_from(&command.metadata);
        event
    }

    /// The event as it is told and kept.
    #[must_use]
    pub fn json(&self) -> Bytes {
        json::bytes(self).into()
    }

    /// The event that was told and kept as this, to be told again; `None` when it cannot be read.
    #[must_use]
    pub fn repeated(json: &[u8]) -> Option<Self> {
        let event: Self = serde_json::from_slice(json).ok()?;
        Some(Self { repeated: true, ..event })
    }

    /// Tells that a message is not a command; `None` when nobody can tell whose message it was.
    #[must_use]
    pub fn of_malformed(malformed: &Malformed, circumstances: &EventContext) -> Option<Self> {
        let failure = Failure { reason: Reason::Malformed, http_status: None, detail: malformed.detail() };
        let channel_type = malformed.channel_type.clone();
        malformed.id.clone().map(|id| Self::new(id, channel_type, CommandResult::Failed(failure), circumstances))
    }

    fn new(
        command_id: CommandId,
        channel_type: Option<String>,
        ending: CommandResult,
        circumstances: &EventContext,
    ) -> Self {
        let (outcome, response, failure) = match ending {
            CommandResult::Succeeded(response) => (Outcome::Succeeded, response, None),
            CommandResult::Failed(failure) => (failure.reason.outcome(), None, Some(failure)),
        };
        Self {
            event_id: event_id(&command_id, circumstances.replay, outcome),
            command_id,
            outcome,
            channel_type,
            occurred_at: circumstances.occurred_at,
            attempts: circumstances.attempts,
            possible_duplicate: circumstances.possible_duplicate,
            repeated: false,
            response,
            failure,
            timing: circumstances.timing,
            metadata: None,
        }
    }
}

/// The id of the event that tells this outcome. The command id comes last, so no choice of it can look like another
/// outcome or replay.
#[must_use]
pub fn event_id(command_id: &CommandId, replay: u32, outcome: Outcome) -> Uuid {
    Uuid::new_v5(&NAMESPACE, [outcome.as_str(), "/", &replay.to_string(), "/", command_id.as_str()].concat().as_bytes())
}

/// RFC 3339 in UTC with exactly three digits of fraction.
mod milliseconds {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{time:.3}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
