//! A decoded command. Every limit holds, so no later code checks again.

use std::fmt;

use jiff::Timestamp;
use serde_json::value::RawValue;

/// The id of a command: 1 to 128 bytes without control characters. Identifies duplicates, events and journal records.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct CommandId(String);

impl CommandId {
    /// The limit of the contract.
    pub const MAX_BYTES: usize = 128;

    /// Creates an id; `None` if the text is empty, longer than [`Self::MAX_BYTES`] or contains a control character.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let is_valid = !text.is_empty() && text.len() <= Self::MAX_BYTES && !text.contains(char::is_control);
        is_valid.then_some(Self(text))
    }

    /// Returns the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CommandId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text).ok_or("a command id has 1 to 128 bytes and no control character")
    }
}

impl fmt::Debug for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The policy for an attempt that may have reached the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUncertain {
    /// Attempt again; the event has `possibleDuplicate: true`.
    Resend,
    /// Do not attempt again: event and dead letter `uncertain`.
    Park,
}

/// A file to send. edna downloads it; the daemon does not.
#[derive(Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The URL, not empty, at most 4,000 characters.
    pub url: String,
    /// The file name, at most 1,000 characters.
    pub name: Option<String>,
    /// The MIME type, at most 256 characters.
    pub mime_type: Option<String>,
    /// The size in bytes.
    pub size: Option<u64>,
}

/// A command. `Debug` shows the id and the channel only: text, address and URLs are personal data.
#[derive(Clone)]
pub struct Command {
    /// The id.
    pub id: CommandId,
    /// The text, at most `delivery.max_text` characters. There is a text or at least one attachment.
    pub text: Option<String>,
    /// The attachments in the order of the message.
    pub attachments: Vec<Attachment>,
    /// The channel, an opaque word of 1 to 64 bytes, upper case by convention.
    pub channel_type: String,
    /// The address within the channel, 1 to 512 bytes. Personal data.
    pub device_address: String,
    /// The external id of an authorized client, at most 512 bytes.
    pub client_id: Option<String>,
    /// The external id of an unauthorized client, at most 512 bytes.
    pub unauthorized_client_id: Option<String>,
    /// The application on the device, at most 512 bytes.
    pub app_marker: Option<String>,
    /// The deadline for the start of an attempt.
    pub expires_at: Option<Timestamp>,
    /// Replaces the device as the ordering key, at most 512 bytes.
    pub order_key: Option<String>,
    /// Overrides `delivery.on_uncertain`.
    pub on_uncertain: Option<OnUncertain>,
    /// The producer's object for the event, byte for byte, at most 4 KiB.
    pub metadata: Option<Box<RawValue>>,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("id", &self.id)
            .field("channel_type", &self.channel_type)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment").field("size", &self.size).finish_non_exhaustive()
    }
}
