//! The configured limits of a command, and the fixed ones of the contract.

/// The most bytes of `channelType`.
pub(super) const MAX_CHANNEL_TYPE_BYTES: usize = 64;
/// The most bytes of `deviceAddress`, `orderKey`, `appMarker` and each client id.
pub(super) const MAX_IDENTIFIER_BYTES: usize = 512;
/// The most bytes of `metadata` as it stands in the body.
pub(super) const MAX_METADATA_BYTES: usize = 4 * 1024;
/// The most characters of an attachment's `url`.
pub(super) const MAX_URL_CHARS: usize = 4_000;
/// The most characters of an attachment's `name`.
pub(super) const MAX_FILE_NAME_CHARS: usize = 1_000;
/// The most characters of an attachment's `type`.
pub(super) const MAX_MIME_TYPE_CHARS: usize = 256;

/// The settings that decide whether a message is a command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct DecodeLimits {
    /// `delivery.max_body`, in bytes.
    pub max_body: usize,
    /// `delivery.max_text`, in characters (Unicode scalar values).
    pub max_text: usize,
    /// `api.channel_types`, the allowed ones; empty allows any.
    pub channel_types: Vec<String>,
    /// `delivery.unknown_fields`.
    pub unknown_fields: UnknownFields,
    /// `delivery.missing_id`.
    pub missing_id: MissingId,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            max_body: 256 * 1024,
            max_text: 2_000,
            channel_types: Vec::new(),
            unknown_fields: UnknownFields::default(),
            missing_id: MissingId::default(),
        }
    }
}

/// The policy for fields that the contract does not define.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownFields {
    /// The message is malformed: a typo must not drop a field silently.
    #[default]
    Reject,
    /// The field is skipped; it must be valid JSON all the same.
    Ignore,
}

/// The policy for commands without an id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingId {
    /// The message is malformed.
    #[default]
    Reject,
    /// The command gets a new id, without protection against duplicates.
    Generate,
}
