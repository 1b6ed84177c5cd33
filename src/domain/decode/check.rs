//! From what stands on the wire to a command that keeps every limit.

use jiff::{Timestamp, civil};
use serde_json::value::RawValue;

use super::{
    limits::{DecodeLimits, MAX_CHANNEL_TYPE, MAX_FILE_NAME, MAX_METADATA, MAX_MIME_TYPE, MAX_NAME, MAX_URL},
    malformed::{Fault, Problem},
    object::{Slot, Str},
    unique,
    wire::{WireAttachment, WireCommand},
};
use crate::domain::command::{Attachment, Command, CommandId, OnUncertain};

/// Checks all but the id, which depends on the way that the command came, and `commandId`, which is looked at there.
pub(super) fn command(wire: WireCommand<'_>, id: CommandId, limits: &DecodeLimits) -> Result<Command, Fault> {
    let attachments = attachments(wire.attachments)?;
    Ok(Command {
        id,
        text: text(wire.text, attachments.is_empty(), limits.max_text)?,
        attachments,
        channel_type: channel_type(wire.channel_type, &limits.channel_types)?,
        device_address: device_address(wire.device_address)?,
        client_id: name("clientId", wire.client_id)?,
        unauthorized_client_id: name("unauthorizedClientId", wire.unauthorized_client_id)?,
        app_marker: name("appMarker", wire.app_marker)?,
        expires_at: wire.expires_at.into_value().map(|Str(time)| instant("expiresAt", &time)).transpose()?,
        order_key: name("orderKey", wire.order_key)?,
        on_uncertain: on_uncertain(wire.on_uncertain)?,
        metadata: metadata(wire.metadata)?,
    })
}

/// A command id that came in `field`.
pub(super) fn command_id(field: &str, id: &str) -> Result<CommandId, Fault> {
    not_empty(field, id)?;
    at_most_bytes(field, id, CommandId::MAX_BYTES)?;
    CommandId::new(id).ok_or_else(|| Fault::at(field, Problem::Control))
}

/// An RFC 3339 time that came in `field`.
///
/// The pattern is checked first because jiff reads much more than RFC 3339. "Never" is often written as the last second
/// of the year 9999, which is after jiff's last instant: any time of those days means that instant.
pub(super) fn instant(field: &str, time: &str) -> Result<Timestamp, Fault> {
    let never = || {
        let date = time.get(..10).filter(|date| *date >= "9999-12-30")?;
        date.parse::<civil::Date>().ok().map(|_| Timestamp::MAX)
    };
    let read = is_rfc3339(time).then(|| time.parse().ok().or_else(never)).flatten();
    read.ok_or_else(|| Fault::at(field, Problem::MustBe("an RFC 3339 time such as 2026-11-22T12:00:00Z")))
}

/// `0000-00-00T00:00:00`, a fraction or none, and `Z` or `+00:00`.
fn is_rfc3339(time: &str) -> bool {
    let Some((seconds, rest)) = time.split_at_checked(19) else { return false };
    let zone = match rest.strip_prefix('.') {
        Some(fraction) if fraction.starts_with(|c: char| c.is_ascii_digit()) => {
            fraction.trim_start_matches(|c: char| c.is_ascii_digit())
        }
        Some(_) => return false,
        None => rest,
    };
    fits(seconds, "0000-00-00T00:00:00") && (fits(zone, "Z") || fits(zone, "+00:00") || fits(zone, "-00:00"))
}

/// Whether the text has the pattern's form, where `0` stands for any digit.
fn fits(text: &str, pattern: &str) -> bool {
    let fits = |(byte, wanted): (u8, u8)| match wanted {
        b'0' => byte.is_ascii_digit(),
        _ => byte.eq_ignore_ascii_case(&wanted),
    };
    text.len() == pattern.len() && text.bytes().zip(pattern.bytes()).all(fits)
}

/// Whether it can be the last word of an event's routing key (`.` would split it; `*` and `#` are what a reader
/// would bind with).
pub(super) fn is_channel_type(channel: &str) -> bool {
    let forbidden = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '.' | '*' | '#');
    !channel.is_empty() && channel.len() <= MAX_CHANNEL_TYPE && !channel.contains(forbidden)
}

fn channel_type(slot: Slot<Str<'_>>, allowed: &[String]) -> Result<String, Fault> {
    const FIELD: &str = "channelType";
    let Str(channel) = required(FIELD, slot)?;
    not_empty(FIELD, &channel)?;
    at_most_bytes(FIELD, &channel, MAX_CHANNEL_TYPE)?;
    if !is_channel_type(&channel) {
        return Err(Fault::at(FIELD, Problem::NotOneWord));
    }
    if !allowed.is_empty() && !allowed.iter().any(|allowed| *allowed == channel) {
        return Err(Fault::at(FIELD, Problem::NotAllowed(allowed.join(", "))));
    }
    Ok(channel.into_owned())
}

fn device_address(slot: Slot<Str<'_>>) -> Result<String, Fault> {
    const FIELD: &str = "deviceAddress";
    let address = name(FIELD, slot)?.ok_or_else(|| Fault::at(FIELD, Problem::Missing))?;
    not_empty(FIELD, &address)?;
    Ok(address)
}

/// A text may be left out, or be empty, when there is an attachment.
fn text(slot: Slot<Str<'_>>, must_be_there: bool, max_text: usize) -> Result<Option<String>, Fault> {
    const FIELD: &str = "text";
    let text = slot.into_value().map(|Str(text)| text.into_owned());
    let something = text.as_ref().is_some_and(|text| !text.is_empty());
    if must_be_there && !something {
        return Err(Fault::at(FIELD, Problem::NothingToSend));
    }
    if let Some(text) = &text {
        at_most_characters(FIELD, text, max_text)?;
    }
    Ok(text)
}

fn attachments(slot: Slot<Vec<WireAttachment<'_>>>) -> Result<Vec<Attachment>, Fault> {
    let list = slot.into_value().unwrap_or_default().into_iter().enumerate();
    list.map(|(index, wire)| attachment(wire).map_err(|fault| fault.under(&format!("attachments[{index}]")))).collect()
}

fn attachment(wire: WireAttachment<'_>) -> Result<Attachment, Fault> {
    let Str(url) = required("url", wire.url)?;
    not_empty("url", &url)?;
    at_most_characters("url", &url, MAX_URL)?;
    Ok(Attachment {
        url: url.into_owned(),
        name: characters("name", wire.name, MAX_FILE_NAME)?,
        mime_type: characters("type", wire.mime_type, MAX_MIME_TYPE)?,
        size: wire.size.into_value(),
    })
}

/// One of the identifying fields: their bound is the same.
fn name(field: &str, slot: Slot<Str<'_>>) -> Result<Option<String>, Fault> {
    let Some(Str(name)) = slot.into_value() else { return Ok(None) };
    at_most_bytes(field, &name, MAX_NAME)?;
    if name.contains(char::is_control) {
        return Err(Fault::at(field, Problem::Control));
    }
    Ok(Some(name.into_owned()))
}

fn on_uncertain(slot: Slot<Str<'_>>) -> Result<Option<OnUncertain>, Fault> {
    match slot.into_value().as_ref().map(|Str(word)| word.as_ref()) {
        None => Ok(None),
        Some("resend") => Ok(Some(OnUncertain::Resend)),
        Some("park") => Ok(Some(OnUncertain::Park)),
        Some(_) => Err(Fault::at("onUncertain", Problem::MustBe("`resend` or `park`"))),
    }
}

/// The object as it stands, once it is known to be sound: `RawValue` alone looks neither at keys nor at depth nor
/// into strings, and what passes here goes into every event.
fn metadata(slot: Slot<&RawValue>) -> Result<Option<Box<RawValue>>, Fault> {
    const FIELD: &str = "metadata";
    let Some(raw) = slot.into_value() else { return Ok(None) };
    if !raw.get().starts_with('{') {
        return Err(Fault::at(FIELD, Problem::MustBe("an object")));
    }
    at_most_bytes(FIELD, raw.get(), MAX_METADATA)?;
    unique::check(raw.get()).map_err(|fault| fault.under(FIELD))?;
    Ok(Some(raw.to_owned()))
}

fn characters(field: &str, slot: Slot<Str<'_>>, limit: usize) -> Result<Option<String>, Fault> {
    let Some(Str(text)) = slot.into_value() else { return Ok(None) };
    at_most_characters(field, &text, limit)?;
    Ok(Some(text.into_owned()))
}

pub(super) fn required<T>(field: &str, slot: Slot<T>) -> Result<T, Fault> {
    slot.into_value().ok_or_else(|| Fault::at(field, Problem::Missing))
}

fn not_empty(field: &str, text: &str) -> Result<(), Fault> {
    if text.is_empty() { Err(Fault::at(field, Problem::Empty)) } else { Ok(()) }
}

fn at_most_bytes(field: &str, text: &str, limit: usize) -> Result<(), Fault> {
    at_most(field, text.len(), "bytes", limit)
}

fn at_most_characters(field: &str, text: &str, limit: usize) -> Result<(), Fault> {
    // A character has at least a byte, so most texts need not be counted.
    if text.len() <= limit { Ok(()) } else { at_most(field, text.chars().count(), "characters", limit) }
}

pub(super) fn at_most(field: &str, got: usize, unit: &'static str, limit: usize) -> Result<(), Fault> {
    if got <= limit { Ok(()) } else { Err(Fault::at(field, Problem::TooLong { got, unit, limit })) }
}
