//! Lenient reading of the identifying fields of a malformed message, so that its producer gets an event.

use std::fmt;

use serde::{
    Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;

use super::{check, cloudevents, message_format::MessageFormat};
use crate::domain::{command::CommandId, properties::Properties};

/// The identifying fields of a malformed message. Of contradicting ones the first is used, and `commandId` rather than
/// the id of a CloudEvent or `message_id`, as for a command.
#[derive(Default)]
pub(super) struct Salvaged {
    pub(super) id: Option<CommandId>,
    pub(super) channel_type: Option<String>,
}

impl Salvaged {
    /// Reads the properties only, for a body that is too long.
    pub(super) fn from_properties(properties: &Properties) -> Self {
        Self::new(IdentifyingFields::default(), properties)
    }

    /// Reads the properties, and the body up to its first encoding or syntax error.
    pub(super) fn from_message(body: &[u8], properties: &Properties) -> Self {
        let valid = body.utf8_chunks().next().map_or("", |chunk| chunk.valid()).trim_start_matches('\u{feff}');
        let mut fields = IdentifyingFields::default();
        // The strict read has reported the error already.
        drop(serde_json::Deserializer::from_str(valid).deserialize_map(FieldsVisitor(&mut fields)));
        Self::new(fields, properties)
    }

    fn new(fields: IdentifyingFields, properties: &Properties) -> Self {
        let id = match MessageFormat::of(properties) {
            MessageFormat::Plain => fields.command_id.or_else(|| properties.message_id.clone()),
            MessageFormat::CloudEventsBinary => fields.command_id.or_else(|| cloudevents::attribute(properties, "id")),
            MessageFormat::CloudEventsStructured => fields.command_id.or(fields.id),
        };
        Self {
            id: id.and_then(CommandId::new),
            channel_type: fields.channel_type.filter(|channel| check::is_channel_type(channel)),
        }
    }
}

/// The first text of each field that is not empty, at the top level or in `data`.
#[derive(Default)]
struct IdentifyingFields {
    id: Option<String>,
    command_id: Option<String>,
    channel_type: Option<String>,
}

impl IdentifyingFields {
    fn set_if_absent(&mut self, name: &str, value: &Value) {
        let field = match name {
            "id" => &mut self.id,
            "commandId" => &mut self.command_id,
            "channelType" => &mut self.channel_type,
            _ => return,
        };
        if field.is_none() {
            *field = value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        }
    }
}

struct FieldsVisitor<'f>(&'f mut IdentifyingFields);

impl<'de> Visitor<'de> for FieldsVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "id" | "commandId" | "channelType" => self.0.set_if_absent(&name, &map.next_value()?),
                "data" => {
                    for (name, value) in map.next_value::<Value>()?.as_object().into_iter().flatten() {
                        self.0.set_if_absent(name, value);
                    }
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}
