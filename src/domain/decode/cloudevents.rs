//! Commands as CloudEvents 1.0: structured (the body is a CloudEvent with the command as `data`) or binary (the body is
//! the command, the attributes are headers). See the CloudEvents specification and its AMQP protocol binding.
//!
//! The attribute `id` is the command id unless the command has a `commandId`: CloudEvents libraries generate an `id`.
//! `message_id` is ignored, since they put an id of their own there, too. Of the deadlines `expirytime` and `expiresAt`
//! the earlier one applies. An empty attribute is absent.

use std::cmp;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::de::MapAccess;

use super::{
    check,
    limits::DecodeLimits,
    malformed::{FieldError, FieldProblem},
    message_format::utf8,
    object::{self, FieldSlot, ObjectEntry, ObjectFields},
    string::JsonStr,
    timestamp,
    wire::WireCommand,
};
use crate::domain::{
    command::Command,
    properties::{HeaderValue, Properties},
};

const VERSION: &str = "1.0";
const MUST_BE_VERSION: FieldProblem = FieldProblem::MustBe("1.0");

/// A structured CloudEvent. Other attributes and extensions are skipped.
#[derive(Default)]
struct Envelope<'de> {
    specversion: FieldSlot<JsonStr<'de>>,
    id: FieldSlot<JsonStr<'de>>,
    expirytime: FieldSlot<JsonStr<'de>>,
    data: FieldSlot<WireCommand<'de>>,
    data_base64: FieldSlot<JsonStr<'de>>,
}

impl<'de> ObjectFields<'de> for Envelope<'de> {
    const NAMES: &'static [&'static str] = &["specversion", "id", "expirytime", "data", "data_base64"];

    fn read<A: MapAccess<'de>>(&mut self, entry: ObjectEntry<'_, 'de, A>) -> Result<(), A::Error> {
        match entry.name() {
            "specversion" => entry.read_value(&mut self.specversion, VERSION),
            "id" => entry.read_value(&mut self.id, "a string"),
            "expirytime" => entry.read_value(&mut self.expirytime, "a string"),
            "data" => entry.read_object(&mut self.data),
            "data_base64" => entry.read_value(&mut self.data_base64, "a string"),
            _ => entry.skip(),
        }
    }
}

/// Decodes a structured CloudEvent.
pub(super) fn structured(json: &str, limits: &DecodeLimits) -> Result<Command, FieldError> {
    let envelope: Envelope<'_> = object::read(json, limits.unknown_fields)?;
    if envelope.specversion.into_value().is_none_or(|JsonStr(version)| version != VERSION) {
        return Err(FieldError::at("specversion", MUST_BE_VERSION));
    }
    let JsonStr(id) = check::required("id", envelope.id)?;
    let expiry = check::optional(envelope.expirytime);
    let attributes = Attributes { id_field: "id", id: &id, expiry_field: "expirytime", expiry: expiry.as_deref() };
    match (envelope.data.into_value(), check::optional(envelope.data_base64)) {
        (Some(_), Some(_)) => Err(FieldError::at("data_base64", FieldProblem::Conflicts("data"))),
        (Some(wire), None) => attributes.command(wire, limits, |error| error.under("data")),
        (None, Some(base64)) => attributes.command_from_base64(&base64, limits),
        (None, None) => Err(FieldError::at("data", FieldProblem::Missing)),
    }
}

/// Decodes a binary CloudEvent.
pub(super) fn binary(json: &str, properties: &Properties, limits: &DecodeLimits) -> Result<Command, FieldError> {
    if attribute(properties, "specversion").is_none_or(|version| version != VERSION) {
        return Err(FieldError::at("cloudEvents_specversion", MUST_BE_VERSION));
    }
    let id_field = "cloudEvents_id";
    let id = attribute(properties, "id").ok_or_else(|| FieldError::at(id_field, FieldProblem::Missing))?;
    let expiry = attribute(properties, "expirytime");
    let expiry_field = "cloudEvents_expirytime";
    let attributes = Attributes { id_field, id: &id, expiry_field, expiry: expiry.as_deref() };
    attributes.command(object::read(json, limits.unknown_fields)?, limits, |error| error)
}

/// Returns an attribute of a binary CloudEvent. The AMQP binding allows both prefixes and prefers `cloudEvents_`.
pub(super) fn attribute(properties: &Properties, name: &str) -> Option<String> {
    let header = |separator| properties.headers.get(format!("cloudEvents{separator}{name}").as_str());
    let text = |separator| header(separator).map(HeaderValue::to_text).filter(|text| !text.is_empty());
    text('_').or_else(|| text(':'))
}

/// The attributes that concern the command, and the fields that they come from.
struct Attributes<'a> {
    id_field: &'static str,
    id: &'a str,
    expiry_field: &'static str,
    expiry: Option<&'a str>,
}

impl Attributes<'_> {
    /// Combines the attributes and the command; `in_message` makes a path in the command one in the message.
    fn command(
        &self,
        wire: WireCommand<'_>,
        limits: &DecodeLimits,
        in_message: impl Fn(FieldError) -> FieldError,
    ) -> Result<Command, FieldError> {
        let id = match wire.command_id() {
            Some(own) => check::command_id("commandId", own).map_err(&in_message)?,
            None => check::command_id(self.id_field, self.id)?,
        };
        let expiry = self.expiry.map(|text| timestamp::parse(self.expiry_field, text)).transpose()?;
        let mut command = check::command(wire, id, limits).map_err(in_message)?;
        command.expires_at = [command.expires_at, expiry].into_iter().flatten().reduce(cmp::min);
        Ok(command)
    }

    fn command_from_base64(&self, base64: &str, limits: &DecodeLimits) -> Result<Command, FieldError> {
        const FIELD: &str = "data_base64";
        let body = STANDARD.decode(base64);
        let body = body.map_err(|_| FieldError::at(FIELD, FieldProblem::MustBe("Base64 (RFC 4648)")))?;
        let wire = utf8(&body).and_then(|json| object::read(json, limits.unknown_fields));
        let in_message = |error: FieldError| error.under(FIELD);
        self.command(wire.map_err(in_message)?, limits, in_message)
    }
}
