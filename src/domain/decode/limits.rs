//! What the settings say about commands, and the limits that no setting moves.

/// `channelType`, in bytes.
pub(super) const MAX_CHANNEL_TYPE: usize = 64;
/// `deviceAddress`, `orderKey`, `appMarker` and the client ids, in bytes each.
pub(super) const MAX_NAME: usize = 512;
/// `metadata` as it stands in the body, in bytes.
pub(super) const MAX_METADATA: usize = 4 * 1024;
/// An attachment's `url`, in characters.
pub(super) const MAX_URL: usize = 4_000;
/// An attachment's `name`, in characters.
pub(super) const MAX_FILE_NAME: usize = 1_000;
/// An attachment's `type`, in characters.
pub(super) const MAX_MIME_TYPE: usize = 256;

/// The settings that decide whether a message is a command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct DecodeLimits {
    /// `delivery.max_body`, bytes.
    pub max_body: usize,
    /// `delivery.max_text`, characters (Unicode scalar values).
    pub max_text: usize,
    /// `api.channel_types`: the allowed ones; empty means any.
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

/// What a field that the contract does not know means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownFields {
    /// The message is malformed: a typo must not drop a field silently.
    #[default]
    Reject,
    /// The field is left out.
    Ignore,
}

/// What a command without an id means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingId {
    /// The message is malformed.
    #[default]
    Reject,
    /// It gets a new id: accepted without protection against duplicates.
    Generate,
}
