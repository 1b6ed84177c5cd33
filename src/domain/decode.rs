//! Decoding: from the body and properties of a message to a [`Command`], or to the reason why it is not one.
//!
//! # Steps
//!
//! 1. The body's size, `content_encoding` and UTF-8 (`message_format`).
//! 2. One strict read of the JSON, borrowing from the body (`object`, `wire`, `cloudevents`).
//! 3. The limits of each field (`check`).
//! 4. Only if one of these failed: a lenient read of the id and the channel (`salvage`), so that the producer gets an
//!    event.
//!
//! # Invariants
//!
//! - A [`Command`] satisfies every limit of the contract and of [`DecodeLimits`]; no later code checks again.
//! - Decoding is deterministic: a malformed message stays malformed, so it is never retried.
//! - No field is read twice or dropped silently: duplicate names are errors at any depth, also in ignored fields and
//!   in `metadata`; unknown names are errors unless [`UnknownFields::Ignore`] is set.
//! - [`Malformed`] contains names, limits and positions, never a value of the message: values are personal data.
//! - Time and memory are linear in the body, which is at most [`DecodeLimits::max_body`] bytes; the parser limits the
//!   depth.
//!
//! # Sources
//!
//! The fields and limits are those of the API method `POST /api/v1/messages/outgoing-to-device`; timestamps are RFC
//! 3339; CloudEvents are version 1.0 with its JSON format and AMQP binding.

mod check;
mod cloudevents;
mod limits;
mod malformed;
mod message_format;
mod object;
mod read_context;
mod salvage;
mod string;
mod timestamp;
mod unique_keys;
mod wire;

pub use self::{
    limits::{DecodeLimits, MissingId, UnknownFields},
    malformed::Malformed,
};
use self::{
    malformed::{FieldError, FieldProblem},
    message_format::{MessageFormat, check_content_encoding, utf8},
    salvage::Salvaged,
    wire::WireCommand,
};
use super::{
    command::{Command, CommandId},
    properties::Properties,
};

/// Decodes the body and the properties of one message.
///
/// `new_id` is called only for a command without an id under [`MissingId::Generate`].
///
/// # Errors
/// [`Malformed`] when the message is not a command.
pub fn decode(
    body: &[u8],
    properties: &Properties,
    limits: &DecodeLimits,
    new_id: impl FnOnce() -> String,
) -> Result<Command, Malformed> {
    decode_strictly(body, properties, limits, new_id).map_err(|error| {
        let salvaged = if body.len() <= limits.max_body {
            Salvaged::from_message(body, properties)
        } else {
            Salvaged::from_properties(properties)
        };
        Malformed::new(error, salvaged.id, salvaged.channel_type)
    })
}

fn decode_strictly(
    body: &[u8],
    properties: &Properties,
    limits: &DecodeLimits,
    new_id: impl FnOnce() -> String,
) -> Result<Command, FieldError> {
    check::at_most("body", body.len(), "bytes", limits.max_body)?;
    check_content_encoding(properties.content_encoding.as_deref())?;
    let json = utf8(body)?;
    match MessageFormat::of(properties) {
        MessageFormat::CloudEventsStructured => cloudevents::structured(json, limits),
        MessageFormat::CloudEventsBinary => cloudevents::binary(json, properties, limits),
        MessageFormat::Plain => {
            let wire: WireCommand<'_> = object::read(json, limits.unknown_fields)?;
            let id = plain_id(wire.command_id(), properties.message_id.as_deref(), limits.missing_id, new_id)?;
            check::command(wire, id, limits)
        }
    }
}

/// Returns the id of a plain command: `commandId`, else the property `message_id`, which many client libraries fill by
/// themselves, else as configured. An empty id is absent.
fn plain_id(
    command_id: Option<&str>,
    message_id: Option<&str>,
    missing_id: MissingId,
    new_id: impl FnOnce() -> String,
) -> Result<CommandId, FieldError> {
    const FIELD: &str = "commandId";
    match (command_id, message_id.filter(|id| !id.is_empty())) {
        (Some(own), _) => check::command_id(FIELD, own),
        (None, Some(other)) => check::command_id("message_id", other),
        (None, None) => match missing_id {
            MissingId::Reject => Err(FieldError::at(FIELD, FieldProblem::Missing)),
            MissingId::Generate => check::command_id(FIELD, &new_id()),
        },
    }
}

#[cfg(test)]
mod tests;
