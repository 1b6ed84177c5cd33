//! A command exactly as it stands in the body, before any limit is checked.

use serde::de::MapAccess;
use serde_json::value::RawValue;

use super::{
    object::{FieldSlot, ObjectEntry, ObjectFields},
    string::JsonStr,
};

const STRING: &str = "a string";

/// The command's JSON object.
#[derive(Default)]
pub(super) struct WireCommand<'de> {
    pub(super) command_id: FieldSlot<JsonStr<'de>>,
    pub(super) text: FieldSlot<JsonStr<'de>>,
    pub(super) channel_type: FieldSlot<JsonStr<'de>>,
    pub(super) device_address: FieldSlot<JsonStr<'de>>,
    pub(super) client_id: FieldSlot<JsonStr<'de>>,
    pub(super) unauthorized_client_id: FieldSlot<JsonStr<'de>>,
    pub(super) app_marker: FieldSlot<JsonStr<'de>>,
    pub(super) attachments: FieldSlot<Vec<WireAttachment<'de>>>,
    pub(super) expires_at: FieldSlot<JsonStr<'de>>,
    pub(super) order_key: FieldSlot<JsonStr<'de>>,
    pub(super) on_uncertain: FieldSlot<JsonStr<'de>>,
    pub(super) metadata: FieldSlot<&'de RawValue>,
}

impl WireCommand<'_> {
    /// Returns the id in the body; an empty one is absent.
    pub(super) fn command_id(&self) -> Option<&str> {
        self.command_id.value().map(|JsonStr(id)| id.as_ref()).filter(|id| !id.is_empty())
    }
}

impl<'de> ObjectFields<'de> for WireCommand<'de> {
    const NAMES: &'static [&'static str] = &[
        "commandId",
        "text",
        "channelType",
        "deviceAddress",
        "clientId",
        "unauthorizedClientId",
        "appMarker",
        "attachments",
        "expiresAt",
        "orderKey",
        "onUncertain",
        "metadata",
    ];

    fn read<A: MapAccess<'de>>(&mut self, entry: ObjectEntry<'_, 'de, A>) -> Result<(), A::Error> {
        match entry.name() {
            "commandId" => entry.read_value(&mut self.command_id, STRING),
            "text" => entry.read_value(&mut self.text, STRING),
            "channelType" => entry.read_value(&mut self.channel_type, STRING),
            "deviceAddress" => entry.read_value(&mut self.device_address, STRING),
            "clientId" => entry.read_value(&mut self.client_id, STRING),
            "unauthorizedClientId" => entry.read_value(&mut self.unauthorized_client_id, STRING),
            "appMarker" => entry.read_value(&mut self.app_marker, STRING),
            "attachments" => entry.read_array(&mut self.attachments),
            "expiresAt" => entry.read_value(&mut self.expires_at, STRING),
            "orderKey" => entry.read_value(&mut self.order_key, STRING),
            "onUncertain" => entry.read_value(&mut self.on_uncertain, STRING),
            "metadata" => entry.read_value(&mut self.metadata, "an object"),
            _ => entry.unknown::<Self>(),
        }
    }
}

/// An element of `attachments`.
#[derive(Default)]
pub(super) struct WireAttachment<'de> {
    pub(super) url: FieldSlot<JsonStr<'de>>,
    pub(super) name: FieldSlot<JsonStr<'de>>,
    pub(super) mime_type: FieldSlot<JsonStr<'de>>,
    pub(super) size: FieldSlot<u64>,
}

impl<'de> ObjectFields<'de> for WireAttachment<'de> {
    const NAMES: &'static [&'static str] = &["url", "name", "type", "size"];

    fn read<A: MapAccess<'de>>(&mut self, entry: ObjectEntry<'_, 'de, A>) -> Result<(), A::Error> {
        match entry.name() {
            "url" => entry.read_value(&mut self.url, STRING),
            "name" => entry.read_value(&mut self.name, STRING),
            "type" => entry.read_value(&mut self.mime_type, STRING),
            "size" => entry.read_value(&mut self.size, "a whole number of at least 0"),
            _ => entry.unknown::<Self>(),
        }
    }
}
