//! The content of an event.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::response::Response;
use crate::domain::{
    command::{Command, CommandId},
    decode::Malformed,
    detail::Detail,
    json,
    reason::{Outcome, Reason},
};

/// The namespace of event ids (UUID version 5, RFC 9562). Never changes: consumers deduplicate by these ids.
const EVENT_ID_NAMESPACE: Uuid = Uuid::from_u128(0x7d5c_1f3e_60b4_4c0a_9a51_c0e1_e27e_d0a1);

/// An event; its fields are in the order of the JSON. Contains no address, no text and no token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// A function of command id, replay and outcome, so that a consumer can drop repeats; see [`event_id`].
    pub event_id: Uuid,
    /// The id of the command.
    pub command_id: CommandId,
    /// The command's outcome.
    pub outcome: Outcome,
    /// The command's channel; `None` if a malformed message has no valid one.
    pub channel_type: Option<String>,
    /// When the outcome was determined, in milliseconds.
    #[serde(with = "milliseconds")]
    pub occurred_at: Timestamp,
    /// Counted attempts over all deliveries.
    pub attempts: u32,
    /// An attempt before the last one may have reached the API, so the message may have been sent twice.
    pub possible_duplicate: bool,
    /// The event is published again from the journal.
    pub repeated: bool,
    /// The API's response; `None` if it was not readable or the outcome is not `succeeded`.
    pub response: Option<Response>,
    /// Why the command did not succeed.
    pub failure: Option<Failure>,
    /// The durations.
    pub timing: Timing,
    /// The command's `metadata`, byte for byte.
    pub metadata: Option<Box<RawValue>>,
}

/// The outcome of a command with its details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandResult {
    /// The API accepted the message; its response, if readable.
    Succeeded(Option<Response>),
    /// Any other outcome, which follows from the reason.
    Failed(Failure),
}

impl CommandResult {
    /// Returns the reason unless the command succeeded.
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
    /// The status code of the last answer, if any.
    pub http_status: Option<u16>,
    /// The explanation.
    pub detail: Detail,
}

/// Durations in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timing {
    /// From first seen to the start of the last attempt.
    pub waited_ms: u64,
    /// The duration of the last attempt.
    pub api_ms: u64,
    /// From first seen to the outcome.
    pub total_ms: u64,
}

/// The part of an event that depends neither on the command nor on its result.
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
    /// Creates the event of a command.
    #[must_use]
    pub fn of_command(command: &Command, result: CommandResult, context: &EventContext) -> Self {
        let mut event = Self::new(command.id.clone(), Some(command.channel_type.clone()), result, context);
        event.metadata.clone_from(&command.metadata);
        event
    }

    /// Returns the JSON that is published and recorded in the journal.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        json::to_bytes(self).into()
    }

    /// Reads an event from the journal, repeated or for the first time; `None` if it is not readable.
    #[must_use]
    pub fn from_recorded(json: &[u8], repeated: bool) -> Option<Self> {
        let event: Self = serde_json::from_slice(json).ok()?;
        Some(Self { repeated, ..event })
    }

    /// Creates the event of a malformed message; `None` if its command id is not readable.
    #[must_use]
    pub fn of_malformed(malformed: &Malformed, context: &EventContext) -> Option<Self> {
        let failure = Failure { reason: Reason::Malformed, http_status: None, detail: malformed.detail() };
        let channel_type = malformed.channel_type.clone();
        malformed.id.clone().map(|id| Self::new(id, channel_type, CommandResult::Failed(failure), context))
    }

    pub(super) fn new(
        command_id: CommandId,
        channel_type: Option<String>,
        result: CommandResult,
        context: &EventContext,
    ) -> Self {
        let (outcome, response, failure) = match result {
            CommandResult::Succeeded(response) => (Outcome::Succeeded, response, None),
            CommandResult::Failed(failure) => (failure.reason.outcome(), None, Some(failure)),
        };
        Self {
            event_id: event_id(&command_id, context.replay, outcome),
            command_id,
            outcome,
            channel_type,
            occurred_at: context.occurred_at,
            attempts: context.attempts,
            possible_duplicate: context.possible_duplicate,
            repeated: false,
            response,
            failure,
            timing: context.timing,
            metadata: None,
        }
    }
}

/// Returns the id of the event with this outcome. The command id comes last, so that no choice of it collides with
/// another outcome or replay.
#[must_use]
pub fn event_id(command_id: &CommandId, replay: u32, outcome: Outcome) -> Uuid {
    Uuid::new_v5(
        &EVENT_ID_NAMESPACE,
        [outcome.as_str(), "/", &replay.to_string(), "/", command_id.as_str()].concat().as_bytes(),
    )
}

/// RFC 3339 in UTC with exactly three fractional digits.
pub(super) mod milliseconds {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::domain::event) fn serialize<S: Serializer>(
        time: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{time:.3}"))
    }

    pub(in crate::domain::event) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
