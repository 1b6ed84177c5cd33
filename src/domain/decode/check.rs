//! The limits: from the fields in the body to a command that satisfies all of them.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    limits::{
        DecodeLimits, MAX_CHANNEL_TYPE_BYTES, MAX_FILE_NAME_CHARS, MAX_IDENTIFIER_BYTES, MAX_METADATA_BYTES,
        MAX_MIME_TYPE_CHARS, MAX_URL_CHARS,
    },
    malformed::{FieldError, FieldProblem},
    object::FieldSlot,
    string::JsonStr,
    timestamp, unique_keys,
    wire::{WireAttachment, WireCommand},
};
use crate::domain::command::{Attachment, Command, CommandId, OnUncertain};

/// Checks all fields but `commandId`: the caller determines the id, which depends on the message's format.
pub(super) fn command(wire: WireCommand<'_>, id: CommandId, limits: &DecodeLimits) -> Result<Command, FieldError> {
    let attachments = attachments(wire.attachments)?;
    let expires_at = optional(wire.expires_at).map(|text| timestamp::parse("expiresAt", &text));
    Ok(Command {
        id,
        text: text(wire.text, attachments.is_empty(), limits.max_text)?,
        attachments,
        channel_type: channel_type(wire.channel_type, &limits.channel_types)?,
        device_address: device_address(wire.device_address)?,
        client_id: identifier("clientId", wire.client_id)?,
        unauthorized_client_id: identifier("unauthorizedClientId", wire.unauthorized_client_id)?,
        app_marker: identifier("appMarker", wire.app_marker)?,
        expires_at: expires_at.transpose()?,
        order_key: identifier("orderKey", wire.order_key)?,
        on_uncertain: on_uncertain(wire.on_uncertain)?,
        metadata: metadata(wire.metadata)?,
    })
}

/// Checks a command id from `field`.
pub(super) fn command_id(field: &str, id: &str) -> Result<CommandId, FieldError> {
    not_empty(field, id)?;
    at_most_bytes(field, id, CommandId::MAX_BYTES)?;
    CommandId::new(id).ok_or_else(|| FieldError::at(field, FieldProblem::ControlCharacter))
}

/// Whether the text can be the last word of an event's routing key: `.` would split it, and `*` and `#` are wildcards
/// in the binding keys of consumers.
pub(super) fn is_channel_type(channel: &str) -> bool {
    let forbidden = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '.' | '*' | '#');
    !channel.is_empty() && channel.len() <= MAX_CHANNEL_TYPE_BYTES && !channel.contains(forbidden)
}

fn channel_type(slot: FieldSlot<JsonStr<'_>>, allowed: &[String]) -> Result<String, FieldError> {
    const FIELD: &str = "channelType";
    let JsonStr(channel) = required(FIELD, slot)?;
    not_empty(FIELD, &channel)?;
    at_most_bytes(FIELD, &channel, MAX_CHANNEL_TYPE_BYTES)?;
    if !is_channel_type(&channel) {
        return Err(FieldError::at(FIELD, FieldProblem::NotOneWord));
    }
    if !allowed.is_empty() && !allowed.iter().any(|allowed| *allowed == channel) {
        return Err(FieldError::at(FIELD, FieldProblem::NotAllowed(allowed.join(", "))));
    }
    Ok(channel.into_owned())
}

fn device_address(slot: FieldSlot<JsonStr<'_>>) -> Result<String, FieldError> {
    const FIELD: &str = "deviceAddress";
    let JsonStr(address) = required(FIELD, slot)?;
    not_empty(FIELD, &address)?;
    check_identifier(FIELD, &address)?;
    Ok(address.into_owned())
}

/// The text may be absent if there is an attachment.
fn text(slot: FieldSlot<JsonStr<'_>>, is_required: bool, max_text: usize) -> Result<Option<String>, FieldError> {
    const FIELD: &str = "text";
    let text = optional_text(FIELD, slot, max_text)?;
    if is_required && text.is_none() { Err(FieldError::at(FIELD, FieldProblem::NothingToSend)) } else { Ok(text) }
}

fn attachments(slot: FieldSlot<Vec<WireAttachment<'_>>>) -> Result<Vec<Attachment>, FieldError> {
    let list = slot.into_value().unwrap_or_default().into_iter().enumerate();
    list.map(|(index, wire)| attachment(wire).map_err(|error| error.under(&format!("attachments[{index}]")))).collect()
}

fn attachment(wire: WireAttachment<'_>) -> Result<Attachment, FieldError> {
    let JsonStr(url) = required("url", wire.url)?;
    not_empty("url", &url)?;
    at_most_characters("url", &url, MAX_URL_CHARS)?;
    Ok(Attachment {
        url: url.into_owned(),
        name: optional_text("name", wire.name, MAX_FILE_NAME_CHARS)?,
        mime_type: optional_text("type", wire.mime_type, MAX_MIME_TYPE_CHARS)?,
        size: wire.size.into_value(),
    })
}

fn identifier(field: &str, slot: FieldSlot<JsonStr<'_>>) -> Result<Option<String>, FieldError> {
    let Some(name) = optional(slot) else { return Ok(None) };
    check_identifier(field, &name)?;
    Ok(Some(name.into_owned()))
}

fn check_identifier(field: &str, name: &str) -> Result<(), FieldError> {
    at_most_bytes(field, name, MAX_IDENTIFIER_BYTES)?;
    if name.contains(char::is_control) {
        return Err(FieldError::at(field, FieldProblem::ControlCharacter));
    }
    Ok(())
}

fn on_uncertain(slot: FieldSlot<JsonStr<'_>>) -> Result<Option<OnUncertain>, FieldError> {
    match optional(slot).as_deref() {
        None => Ok(None),
        Some("resend") => Ok(Some(OnUncertain::Resend)),
        Some("park") => Ok(Some(OnUncertain::Park)),
        Some(_) => Err(FieldError::at("onUncertain", FieldProblem::MustBe("`resend` or `park`"))),
    }
}

/// Returns the object unchanged. `RawValue` alone checks neither keys nor depth nor strings, and the object goes into
/// every event.
fn metadata(slot: FieldSlot<&RawValue>) -> Result<Option<Box<RawValue>>, FieldError> {
    const FIELD: &str = "metadata";
    let Some(raw) = slot.into_value() else { return Ok(None) };
    if !raw.get().starts_with('{') {
        return Err(FieldError::at(FIELD, FieldProblem::MustBe("an object")));
    }
    at_most_bytes(FIELD, raw.get(), MAX_METADATA_BYTES)?;
    unique_keys::check(raw.get()).map_err(|error| error.under(FIELD))?;
    Ok(Some(raw.to_owned()))
}

fn optional_text(field: &str, slot: FieldSlot<JsonStr<'_>>, limit: usize) -> Result<Option<String>, FieldError> {
    let Some(text) = optional(slot) else { return Ok(None) };
    at_most_characters(field, &text, limit)?;
    Ok(Some(text.into_owned()))
}

/// Returns an optional text. An empty one is absent: producers write it for want of a value (Go without `omitempty`).
pub(super) fn optional(slot: FieldSlot<JsonStr<'_>>) -> Option<Cow<'_, str>> {
    slot.into_value().map(|JsonStr(text)| text).filter(|text| !text.is_empty())
}

pub(super) fn required<T>(field: &str, slot: FieldSlot<T>) -> Result<T, FieldError> {
    slot.into_value().ok_or_else(|| FieldError::at(field, FieldProblem::Missing))
}

fn not_empty(field: &str, text: &str) -> Result<(), FieldError> {
    if text.is_empty() { Err(FieldError::at(field, FieldProblem::Empty)) } else { Ok(()) }
}

fn at_most_bytes(field: &str, text: &str, limit: usize) -> Result<(), FieldError> {
    at_most(field, text.len(), "bytes", limit)
}

fn at_most_characters(field: &str, text: &str, limit: usize) -> Result<(), FieldError> {
    // A character has at least one byte, so most texts need no count.
    if text.len() <= limit { Ok(()) } else { at_most(field, text.chars().count(), "characters", limit) }
}

pub(super) fn at_most(field: &str, got: usize, unit: &'static str, limit: usize) -> Result<(), FieldError> {
    if got <= limit { Ok(()) } else { Err(FieldError::at(field, FieldProblem::TooLong { got, unit, limit })) }
}
