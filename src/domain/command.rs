//! A command that was decoded: every limit holds, so no later code checks again.

use std::fmt;

use jiff::Timestamp;
use serde_json::value::RawValue;

/// The identity of a command, 1 to 128 bytes without control characters; the key of duplicates, events and the journal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct CommandId(String);

impl CommandId {
    /// The bound that the contract sets.
    pub const MAX_BYTES: usize = 128;

    /// `None` when the text is empty, longer than [`Self::MAX_BYTES`] or holds a control character.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let fits = !text.is_empty() && text.len() <= Self::MAX_BYTES && !text.contains(char::is_control);
        fits.then_some(Self(text))
    }

    /// The id as it stands on the wire.
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

/// What to do when an attempt may or may not have reached the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUncertain {
    /// Try again and say `possibleDuplicate` in the event.
    Resend,
    /// Stop: event `uncertain`, dead letter `uncertain`.
    Park,
}

/// A file that goes with the text; edna fetches it, the daemon never does.
#[derive(Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Where edna finds it, never empty, at most 4,000 characters.
    pub url: String,
    /// File name, at most 1,000 characters.
    pub name: Option<String>,
    /// MIME type, at most 256 characters.
    pub mime_type: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
}

/// A command as a backend meant it. `Debug` shows the id and the channel only: text, address and URLs are personal data.
#[derive(Clone)]
pub struct Command {
    /// Who it is.
    pub id: CommandId,
    /// The message, at most `delivery.max_text` characters; there is a text or at least one attachment.
    pub text: Option<String>,
    /// In the order they were given.
    pub attachments: Vec<Attachment>,
    /// Opaque, upper case by convention, 1 to 64 bytes.
    pub channel_type: String,
    /// The address within the channel, 1 to 512 bytes. Personal data.
    pub device_address: String,
    /// External id of an authorized client, at most 512 bytes.
    pub client_id: Option<String>,
    /// External id of an unauthorized client, at most 512 bytes.
    pub unauthorized_client_id: Option<String>,
    /// Which application on the device, at most 512 bytes.
    pub app_marker: Option<String>,
    /// No attempt starts after it.
    pub expires_at: Option<Timestamp>,
    /// Replaces the device as the ordering key, at most 512 bytes.
    pub order_key: Option<String>,
    /// This command's own policy, when it has one.
    pub on_uncertain: Option<OnUncertain>,
    /// The producer's own object, echoed in the event byte for byte, at most 4 KiB.
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
