//! A command exactly as it stands on the wire, before any limit is checked.

use serde::de::MapAccess;
use serde_json::value::RawValue;

use super::object::{Entry, Fields, Slot, Str};

const STRING: &str = "a string";

/// The command's JSON object.
#[derive(Default)]
pub(super) struct WireCommand<'de> {
    pub(super) command_id: Slot<Str<'de>>,
    pub(super) text: Slot<Str<'de>>,
    pub(super) channel_type: Slot<Str<'de>>,
    pub(super) device_address: Slot<Str<'de>>,
    pub(super) client_id: Slot<Str<'de>>,
    pub(super) unauthorized_client_id: Slot<Str<'de>>,
    pub(super) app_marker: Slot<Str<'de>>,
    pub(super) attachments: Slot<Vec<WireAttachment<'de>>>,
    pub(super) expires_at: Slot<Str<'de>>,
    pub(super) order_key: Slot<Str<'de>>,
    pub(super) on_uncertain: Slot<Str<'de>>,
    pub(super) metadata: Slot<&'de RawValue>,
}

impl<'de> Fields<'de> for WireCommand<'de> {
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

    fn read<A: MapAccess<'de>>(&mut self, entry: Entry<'_, 'de, A>) -> Result<(), A::Error> {
        match entry.name() {
            "commandId" => entry.put(&mut self.command_id, STRING),
            "text" => entry.put(&mut self.text, STRING),
            "channelType" => entry.put(&mut self.channel_type, STRING),
            "deviceAddress" => entry.put(&mut self.device_address, STRING),
            "clientId" => entry.put(&mut self.client_id, STRING),
            "unauthorizedClientId" => entry.put(&mut self.unauthorized_client_id, STRING),
            "appMarker" => entry.put(&mut self.app_marker, STRING),
            "attachments" => entry.put_list(&mut self.attachments),
            "expiresAt" => entry.put(&mut self.expires_at, STRING),
            "orderKey" => entry.put(&mut self.order_key, STRING),
            "onUncertain" => entry.put(&mut self.on_uncertain, STRING),
            "metadata" => entry.put(&mut self.metadata, "an object"),
            _ => entry.unknown::<Self>(),
        }
    }
}

/// One object of `attachments`.
#[derive(Default)]
pub(super) struct WireAttachment<'de> {
    pub(super) url: Slot<Str<'de>>,
    pub(super) name: Slot<Str<'de>>,
    pub(super) mime_type: Slot<Str<'de>>,
    pub(super) size: Slot<u64>,
}

impl<'de> Fields<'de> for WireAttachment<'de> {
    const NAMES: &'static [&'static str] = &["url", "name", "type", "size"];

    fn read<A: MapAccess<'de>>(&mut self, entry: Entry<'_, 'de, A>) -> Result<(), A::Error> {
        match entry.name() {
            "url" => entry.put(&mut self.url, STRING),
            "name" => entry.put(&mut self.name, STRING),
            "type" => entry.put(&mut self.mime_type, STRING),
            "size" => entry.put(&mut self.size, "a whole number of at least 0"),
            _ => entry.unknown::<Self>(),
        }
    }
}
