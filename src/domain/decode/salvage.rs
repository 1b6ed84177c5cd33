//! Reads what can still be read of a message that is not a command, so that its producer can be told.

use std::fmt;

use serde::{
    Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;

use super::{Form, check, cloudevents};
use crate::domain::{command::CommandId, properties::Properties};

/// What a malformed message still says about itself. Where it contradicts itself, the first and outermost word holds,
/// and `commandId` before `message_id`.
#[derive(Default)]
pub(super) struct Salvage {
    pub(super) id: Option<CommandId>,
    pub(super) channel_type: Option<String>,
}

impl Salvage {
    /// Looks at the properties alone, for a body that is too long to be read.
    pub(super) fn of_properties(properties: &Properties) -> Self {
        Self::new(Found::default(), properties)
    }

    /// Reads as far as the body can be read: up to the first fault of encoding or syntax.
    pub(super) fn of_message(body: &[u8], properties: &Properties) -> Self {
        let sound = body.utf8_chunks().next().map_or("", |chunk| chunk.valid()).trim_start_matches('\u{feff}');
        let mut found = Found::default();
        // What was found before the error counts, and the error is known from the strict pass.
        drop(serde_json::Deserializer::from_str(sound).deserialize_map(Finder(&mut found)));
        Self::new(found, properties)
    }

    fn new(found: Found, properties: &Properties) -> Self {
        let id = match Form::of(properties) {
            Form::Plain => found.command_id.or_else(|| properties.message_id.clone()),
            Form::Binary => cloudevents::attribute(properties, "id").or(found.command_id),
            Form::Structured => found.id.or(found.command_id),
        };
        Self {
            id: id.and_then(CommandId::new),
            channel_type: found.channel_type.filter(|channel| check::is_channel_type(channel)),
        }
    }
}

/// The fields looked for, at the top or in `data`.
#[derive(Default)]
struct Found {
    id: Option<String>,
    command_id: Option<String>,
    channel_type: Option<String>,
}

impl Found {
    fn keep(&mut self, name: &str, value: &Value) {
        let slot = match name {
            "id" => &mut self.id,
            "commandId" => &mut self.command_id,
            "channelType" => &mut self.channel_type,
            _ => return,
        };
        if slot.is_none() {
            *slot = value.as_str().map(str::to_owned);
        }
    }
}

struct Finder<'f>(&'f mut Found);

impl<'de> Visitor<'de> for Finder<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "id" | "commandId" | "channelType" => self.0.keep(&name, &map.next_value()?),
                "data" => {
                    for (name, value) in map.next_value::<Value>()?.as_object().into_iter().flatten() {
                        self.0.keep(name, value);
                    }
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}
