//! The AMQP properties and headers that the daemon reads and copies.
//!
//! An allow-list by construction: properties without a field here (`expiration`, `user_id`, `delivery_mode`) and
//! headers that [`Properties::allows_header`] does not allow (`CC`, `BCC`, every `x-*`) are never read, so they cannot
//! be copied into a message of the daemon.

use std::borrow::Cow;

use litemap::LiteMap;

/// The headers that the daemon sets. Without the prefix `x-`, as RabbitMQ 4 ignores such headers of clients.
pub mod header {
    /// Counted attempts so far: kept in the message, so that they survive the daemon.
    pub const ATTEMPT: &str = "courier-attempt";
    /// When the daemon first received the command, in milliseconds since the Unix epoch.
    pub const FIRST_SEEN: &str = "courier-first-seen";
    /// The earliest next attempt, in milliseconds since the Unix epoch.
    pub const NOT_BEFORE: &str = "courier-not-before";
    /// The reason of a dead letter; `uncertain` on a delayed command whose attempt may have reached the API.
    pub const REASON: &str = "courier-reason";
    /// The status code of the last answer.
    pub const HTTP_STATUS: &str = "courier-http-status";
    /// The explanation, at most [`DETAIL_MAX_BYTES`], without personal data.
    pub const DETAIL: &str = "courier-detail";
    /// `exchange/routing-key` of the original command.
    pub const SOURCE: &str = "courier-source";
    /// The replay count: 0, 1, …
    pub const REPLAY: &str = "courier-replay";
    /// How often the command was copied to a tier because ended sessions had returned it many times. On every copy of a
    /// redelivered command, so that the copy counts as redelivered, too.
    pub const RETURNS: &str = "courier-returns";
    /// The version of the daemon.
    pub const VERSION: &str = "courier-version";
    /// The prefix of all headers of the daemon.
    pub const OWN_PREFIX: &str = "courier-";
    /// The W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
    /// The value of [`VERSION`].
    pub const VERSION_VALUE: &str = env!("CARGO_PKG_VERSION");
    /// The limit of [`DETAIL`].
    pub const DETAIL_MAX_BYTES: usize = 512;
}

/// Text from a message, or a constant, which costs no allocation.
pub type Text = Cow<'static, str>;

/// A header value of a type that the daemon reads or writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValue {
    /// UTF-8 text.
    Text(Text),
    /// Any AMQP integer.
    Int(i64),
    /// An AMQP boolean.
    Bool(bool),
}

impl HeaderValue {
    /// Returns the most bytes that the value takes on the wire, including type and length.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        match self {
            Self::Text(text) => 5 + text.len(),
            Self::Int(_) | Self::Bool(_) => 9,
        }
    }

    /// Returns the value of an integer, which may also be written as text.
    #[must_use]
    pub fn to_int(&self) -> Option<i64> {
        match self {
            Self::Int(int) => Some(*int),
            Self::Text(text) => text.parse().ok(),
            Self::Bool(_) => None,
        }
    }

    /// Returns the value as text. CloudEvents attributes may have any type.
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
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
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

/// The headers by name. A sorted list takes a fifth of a tree's memory, and every message in hand has some headers.
pub type Headers = LiteMap<Text, HeaderValue>;

/// The properties of a message that the daemon reads or copies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// `content-type`.
    pub content_type: Option<Text>,
    /// `content-encoding`.
    pub content_encoding: Option<String>,
    /// `message-id`, the command's id if the body has none.
    pub message_id: Option<String>,
    /// `correlation-id`, copied to the event.
    pub correlation_id: Option<String>,
    /// `reply-to`, the queue for a copy of the event if `events.replies` is set.
    pub reply_to: Option<String>,
    /// `type`.
    pub kind: Option<Text>,
    /// `app-id`.
    pub app_id: Option<Text>,
    /// `timestamp` in seconds since the Unix epoch: when the producer created the message. Some clients write 0 for none.
    pub timestamp_s: Option<u64>,
    /// `priority`.
    pub priority: Option<u8>,
    /// The allowed headers; see [`Properties::allows_header`].
    pub headers: Headers,
}

impl Properties {
    /// Whether a header may be read: trace context, CloudEvents attributes and those of the daemon.
    #[must_use]
    pub fn allows_header(name: &str) -> bool {
        name == header::TRACEPARENT
            || name == "tracestate"
            || name.starts_with(header::OWN_PREFIX)
            || name.starts_with("cloudEvents_")
            || name.starts_with("cloudEvents:")
    }

    /// Returns the properties of a copy: the same, except that the daemon's headers are replaced by these.
    #[must_use]
    pub fn copy_with(&self, own: impl IntoIterator<Item = (&'static str, HeaderValue)>) -> Self {
        let is_copied = |name: &str| Self::allows_header(name) && !name.starts_with(header::OWN_PREFIX);
        let kept = self.headers.iter().filter(|(name, _)| is_copied(name));
        let mut headers: Headers = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        headers.extend(own.into_iter().map(|(name, value)| (name.into(), value)));
        Self { headers, ..self.clone() }
    }

    /// Returns the value of a text header.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.headers.get(name)? {
            HeaderValue::Text(text) => Some(text),
            HeaderValue::Int(_) | HeaderValue::Bool(_) => None,
        }
    }

    /// Returns the value of an integer header, which may also be written as text.
    #[must_use]
    pub fn int(&self, name: &str) -> Option<i64> {
        self.headers.get(name)?.to_int()
    }
}
