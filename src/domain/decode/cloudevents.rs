//! Commands that come as CloudEvents 1.0: structured (one JSON object around the command) or binary (the body is the
//! command, the attributes are headers).
//!
//! The event's `id` is the command id. `commandId` may repeat it; `message_id` is then only transport, since CloudEvents
//! libraries put an id of their own there. Of two deadlines, `expirytime` and `expiresAt`, the earlier one holds.

use std::cmp;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::de::MapAccess;

use super::{
    check,
    limits::DecodeLimits,
    malformed::{Fault, Problem},
    object::{self, Entry, Fields, Slot, Str},
    text_of,
    wire::WireCommand,
};
use crate::domain::{command::Command, properties::Properties};

const VERSION: &str = "1.0";
const MUST_BE_VERSION: Problem = Problem::MustBe("1.0");

/// The object around a command in structured mode. Attributes that we do not use, and extensions, are looked through.
#[derive(Default)]
struct Envelope<'de> {
    specversion: Slot<Str<'de>>,
    id: Slot<Str<'de>>,
    expirytime: Slot<Str<'de>>,
    data: Slot<WireCommand<'de>>,
    data_base64: Slot<Str<'de>>,
}

impl<'de> Fields<'de> for Envelope<'de> {
    const NAMES: &'static [&'static str] = &["specversion", "id", "expirytime", "data", "data_base64"];

    fn read<A: MapAccess<'de>>(&mut self, entry: Entry<'_, 'de, A>) -> Result<(), A::Error> {
        match entry.name() {
            "specversion" => entry.put(&mut self.specversion, VERSION),
            "id" => entry.put(&mut self.id, "a string"),
            "expirytime" => entry.put(&mut self.expirytime, "a string"),
            "data" => entry.put_object(&mut self.data),
            "data_base64" => entry.put(&mut self.data_base64, "a string"),
            _ => entry.ignore(),
        }
    }
}

/// Decodes structured mode.
pub(super) fn structured(json: &str, limits: &DecodeLimits) -> Result<Command, Fault> {
    let envelope: Envelope<'_> = object::read(json, limits.unknown_fields)?;
    if envelope.specversion.into_value().is_none_or(|Str(version)| version != VERSION) {
        return Err(Fault::at("specversion", MUST_BE_VERSION));
    }
    let Str(id) = check::required("id", envelope.id)?;
    let expirytime = envelope.expirytime.into_value();
    let around = Around { id_field: "id", id: &id, expiry_field: "expirytime", expiry: expirytime.as_ref().map(text) };
    match (envelope.data.into_value(), envelope.data_base64.into_value()) {
        (Some(_), Some(_)) => Err(Fault::at("data_base64", Problem::Beside("data"))),
        (Some(wire), None) => around.command(wire, limits, |fault| fault.under("data")),
        (None, Some(Str(base64))) => around.command_in_base64(&base64, limits),
        (None, None) => Err(Fault::at("data", Problem::Missing)),
    }
}

/// Whether the message has CloudEvents attributes as headers. One is enough: what was half made is not a plain command.
pub(super) fn is_binary(properties: &Properties) -> bool {
    properties.headers.keys().any(|name| name.starts_with("cloudEvents_") || name.starts_with("cloudEvents:"))
}

/// Decodes binary mode.
pub(super) fn binary(json: &str, properties: &Properties, limits: &DecodeLimits) -> Result<Command, Fault> {
    if attribute(properties, "specversion").is_none_or(|version| version != VERSION) {
        return Err(Fault::at("cloudEvents_specversion", MUST_BE_VERSION));
    }
    let id_field = "cloudEvents_id";
    let id = attribute(properties, "id").ok_or_else(|| Fault::at(id_field, Problem::Missing))?;
    let expiry = attribute(properties, "expirytime");
    let around = Around { id_field, id: &id, expiry_field: "cloudEvents_expirytime", expiry: expiry.as_deref() };
    around.command(object::read(json, limits.unknown_fields)?, limits, |fault| fault)
}

/// An attribute in binary mode. Both prefixes are in use; `_` is the one that the AMQP binding prefers.
pub(super) fn attribute(properties: &Properties, name: &str) -> Option<String> {
    let header = |separator| properties.headers.get(format!("cloudEvents{separator}{name}").as_str());
    header('_').or_else(|| header(':')).map(|value| value.to_text())
}

fn text<'s>(Str(text): &'s Str<'_>) -> &'s str {
    text
}

/// What the event around a command says about it, and where it says so.
struct Around<'a> {
    id_field: &'static str,
    id: &'a str,
    expiry_field: &'static str,
    expiry: Option<&'a str>,
}

impl Around<'_> {
    /// Joins the two; `place` leads a fault of the command from the command's object to the message.
    fn command(
        &self,
        wire: WireCommand<'_>,
        limits: &DecodeLimits,
        place: impl Fn(Fault) -> Fault,
    ) -> Result<Command, Fault> {
        let id = check::command_id(self.id_field, self.id)?;
        let expiry = self.expiry.map(|time| check::instant(self.expiry_field, time)).transpose()?;
        if wire.command_id.value().is_some_and(|Str(own)| own != self.id) {
            return Err(place(Fault::at("commandId", Problem::Differs("the CloudEvents `id`"))));
        }
        let mut command = check::command(wire, id, limits).map_err(place)?;
        command.expires_at = [command.expires_at, expiry].into_iter().flatten().reduce(cmp::min);
        Ok(command)
    }

    fn command_in_base64(&self, base64: &str, limits: &DecodeLimits) -> Result<Command, Fault> {
        const FIELD: &str = "data_base64";
        let body = STANDARD.decode(base64).map_err(|_| Fault::at(FIELD, Problem::MustBe("Base64 (RFC 4648)")))?;
        let wire = text_of(&body).and_then(|json| object::read(json, limits.unknown_fields));
        let inside = |fault: Fault| fault.under(FIELD);
        self.command(wire.map_err(inside)?, limits, inside)
    }
}
