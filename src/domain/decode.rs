//! From a message to a command, or to the reason why it is none.
//!
//! One strict pass over borrowed input (`object`), then the limits (`check`). Only when that failed does a second,
//! lenient look (`salvage`) find out whose message it was.

mod check;
mod cloudevents;
mod limits;
mod malformed;
mod object;
mod salvage;
mod unique;
mod wire;

pub use self::{
    limits::{DecodeLimits, DecodeLimits as Limits, MissingId, UnknownFields},
    malformed::Malformed,
};
use self::{
    malformed::{Fault, Problem},
    object::Str,
    salvage::Salvage,
    wire::WireCommand,
};
use super::{
    command::{Command, CommandId},
    properties::Properties,
};

/// Decodes the body and the properties of one message.
///
/// `new_id` is asked only for a command without an id under [`MissingId::Generate`].
///
/// # Errors
/// [`Malformed`] when the message is not a command; it will not become one by another try.
pub fn decode(
    body: &[u8],
    properties: &Properties,
    limits: &DecodeLimits,
    new_id: impl FnOnce() -> String,
) -> Result<Command, Malformed> {
    strict(body, properties, limits, new_id).map_err(|fault| {
        let readable = body.len() <= limits.max_body;
        let salvage = if readable { Salvage::of_message(body, properties) } else { Salvage::of_properties(properties) };
        Malformed::new(fault, salvage.id, salvage.channel_type)
    })
}

fn strict(
    body: &[u8],
    properties: &Properties,
    limits: &DecodeLimits,
    new_id: impl FnOnce() -> String,
) -> Result<Command, Fault> {
    check::at_most("body", body.len(), "bytes", limits.max_body)?;
    content_encoding(properties.content_encoding.as_deref())?;
    let json = text_of(body)?;
    match Form::of(properties) {
        Form::Structured => cloudevents::structured(json, limits),
        Form::Binary => cloudevents::binary(json, properties, limits),
        Form::Plain => {
            let wire: WireCommand<'_> = object::read(json, limits.unknown_fields)?;
            let own = wire.command_id.value().map(|Str(id)| id.as_ref());
            let id = plain_id(own, properties.message_id.as_deref(), limits.missing_id, new_id)?;
            check::command(wire, id, limits)
        }
    }
}

/// How a command is wrapped.
enum Form {
    /// The body is the command.
    Plain,
    /// The body is the command, CloudEvents attributes are headers.
    Binary,
    /// The body is a CloudEvent with the command in it.
    Structured,
}

impl Form {
    /// The content type matters only where it names the structured form. Any other is read as JSON: client libraries
    /// fill in what they like (`text/plain`, `application/octet-stream`), and whether a body is a command is proved by
    /// the strict pass, not by a label.
    fn of(properties: &Properties) -> Self {
        let content_type = properties.content_type.as_deref().unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("application/cloudevents+json") {
            Self::Structured
        } else if cloudevents::is_binary(properties) {
            Self::Binary
        } else {
            Self::Plain
        }
    }
}

/// A label that says "compressed" is believed: such bytes are never a command.
fn content_encoding(encoding: Option<&str>) -> Result<(), Fault> {
    let encoding = encoding.unwrap_or_default();
    if ["", "identity", "utf-8"].iter().any(|known| encoding.eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    Err(Fault::at("content_encoding", Problem::MustBe("absent, `identity` or `utf-8`")))
}

/// The bytes as text; a byte order mark gets its own word, for the parser's would not help anybody.
fn text_of(body: &[u8]) -> Result<&str, Fault> {
    let text = str::from_utf8(body).map_err(|error| Fault::whole(Problem::NotUtf8(error.valid_up_to())))?;
    if text.starts_with('\u{feff}') { Err(Fault::whole(Problem::ByteOrderMark)) } else { Ok(text) }
}

/// `commandId`, else the property `message_id` (an empty one is what some clients send for none), else what the
/// settings say.
fn plain_id(
    command_id: Option<&str>,
    message_id: Option<&str>,
    missing_id: MissingId,
    new_id: impl FnOnce() -> String,
) -> Result<CommandId, Fault> {
    const FIELD: &str = "commandId";
    match (command_id, message_id.filter(|id| !id.is_empty())) {
        (Some(own), Some(other)) if own != other => Err(Fault::at(FIELD, Problem::Differs("`message_id`"))),
        (Some(own), _) => check::command_id(FIELD, own),
        (None, Some(other)) => check::command_id("message_id", other),
        (None, None) => match missing_id {
            MissingId::Reject => Err(Fault::at(FIELD, Problem::Missing)),
            MissingId::Generate => check::command_id(FIELD, &new_id()),
        },
    }
}

#[cfg(test)]
mod tests;
