//! The AMQP properties and headers that a command carries and that copies of it may keep.
//!
//! This is an allow-list by construction: what has no field here (`expiration`, `user_id`, `delivery_mode`,
//! `CC`, `BCC`, every `x-*` header, …) is never read and so can never be copied into a message of ours.

use std::borrow::Cow;

use litemap::LiteMap;

/// Header names that the daemon writes on what it publishes. Never `x-`: RabbitMQ 4 ignores client-sent `x-` headers.
pub mod header {
    /// Attempts made so far, counted in the message and not in memory.
    pub const ATTEMPT: &str = "courier-attempt";
    /// When the daemon first saw the command, milliseconds since the epoch.
    pub const FIRST_SEEN: &str = "courier-first-seen";
    /// No attempt before this, milliseconds since the epoch.
    pub const NOT_BEFORE: &str = "courier-not-before";
    /// Why the command is dead.
    pub const REASON: &str = "courier-reason";
    /// The API's last status code.
    pub const HTTP_STATUS: &str = "courier-http-status";
    /// A short explanation, at most [`DETAIL_MAX_BYTES`], without personal data.
    pub const DETAIL: &str = "courier-detail";
    /// `exchange/key` that the command came by.
    pub const SOURCE: &str = "courier-source";
    /// How often an operator replayed the command: 0, 1, …
    pub const REPLAY: &str = "courier-replay";
    /// The daemon's version.
    pub const VERSION: &str = "courier-version";
    /// What all of the daemon's own headers start with.
    pub const OWN_PREFIX: &str = "courier-";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
    /// The value of [`VERSION`].
    pub const VERSION_VALUE: &str = env!("CARGO_PKG_VERSION");
    /// The bound of [`DETAIL`].
    pub const DETAIL_MAX_BYTES: usize = 512;
}

/// What was read, or a word of ours, which costs no copy.
pub type Text = Cow<'static, str>;

/// A header value of one of the kinds that the daemon reads or writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValue {
    /// UTF-8 text.
    Text(Text),
    /// Any AMQP integer.
    Int(i64),
    /// A truth value.
    Bool(bool),
}

impl HeaderValue {
    /// How many bytes it takes on the wire at most, with its kind and length.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        match self {
            Self::Text(text) => 5 + text.len(),
            Self::Int(_) | Self::Bool(_) => 9,
        }
    }

    /// The text, or the other kinds written as text (CloudEvents allows both).
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone().into_owned(),
            Self::Int(int) => int.to_string(),
            Self::Bool(bool) => bool.to_string(),
        }
    }
}

impl From<&'static str> for HeaderValue {
    fn from(word: &'static str) -> Self {
        Self::Text(word.into())
    }
}

impl From<String> for HeaderValue {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<u32> for HeaderValue {
    fn from(int: u32) -> Self {
        Self::Int(i64::from(int))
    }
}

/// The headers, by name. There are few, and every message in hand has some: a list takes a fifth of what a tree takes.
pub type Headers = LiteMap<Text, HeaderValue>;

/// The properties of a message, as far as they may be read or copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// `content-type`.
    pub content_type: Option<Text>,
    /// `content-encoding`.
    pub content_encoding: Option<String>,
    /// `message-id`; the command's id when the body has none.
    pub message_id: Option<String>,
    /// `correlation-id`; echoed on the event.
    pub correlation_id: Option<String>,
    /// `reply-to`; where the event also goes with `events.replies = true`.
    pub reply_to: Option<String>,
    /// `type`.
    pub kind: Option<Text>,
    /// `app-id`.
    pub app_id: Option<Text>,
    /// `timestamp`, seconds since the epoch; when the producer made the command.
    pub timestamp_s: Option<u64>,
    /// `priority`.
    pub priority: Option<u8>,
    /// The allowed headers; see [`Properties::allows_header`].
    pub headers: Headers,
}

impl Properties {
    /// Whether a header may be read and copied: trace context, CloudEvents attributes and our own.
    #[must_use]
    pub fn allows_header(name: &str) -> bool {
        name == header::TRACEPARENT
            || name == "tracestate"
            || name.starts_with(header::OWN_PREFIX)
            || name.starts_with("cloudEvents_")
            || name.starts_with("cloudEvents:")
    }

    /// The properties of a copy of ours: what may be copied, and our own headers anew.
    #[must_use]
    pub fn copy(&self, own: impl IntoIterator<Item = (&'static str, HeaderValue)>) -> Self {
        let foreign = |name: &str| Self::allows_header(name) && !name.starts_with(header::OWN_PREFIX);
        let kept = self.headers.iter().filter(|(name, _)| foreign(name));
        let mut headers: Headers = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        headers.extend(own.into_iter().map(|(name, value)| (name.into(), value)));
        Self { headers, ..self.clone() }
    }

    /// A header's text, when it is there and is one.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.headers.get(name)? {
            HeaderValue::Text(text) => Some(text),
            HeaderValue::Int(_) | HeaderValue::Bool(_) => None,
        }
    }

    /// A header's whole number, when it is there and is one.
    #[must_use]
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.headers.get(name)? {
            HeaderValue::Int(int) => Some(*int),
            HeaderValue::Text(text) => text.parse().ok(),
            HeaderValue::Bool(_) => None,
        }
    }
}
