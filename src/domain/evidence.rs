//! What one attempt left in our hands, before anybody judges it.

use std::{fmt, sync::Arc, time::Duration};

/// The whole of what is known after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The API answered.
    Answer(Answer),
    /// The request cannot have left: no connection was made.
    NotSent(NotSent),
    /// The request may have left and no answer came.
    NoAnswer(NoAnswer),
}

/// The API's answer, as far as verdicts and events need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// `Retry-After`, already turned from either of its forms into a wait from now.
    pub retry_after: Option<Duration>,
    /// The body, at most 64 KiB; `None` when it was longer or broke off.
    pub body: Option<Vec<u8>>,
}

/// Why no connection was made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NotSent {
    /// TCP connect refused, unreachable or timed out.
    Connect,
    /// The host name did not resolve.
    Dns,
    /// The TLS handshake failed.
    Tls,
    /// The proxy could not be reached or refused the connection: its scheme, host and port, and the error.
    Proxy(Arc<str>),
}

/// How an attempt ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoAnswer {
    /// `api.timeout` ran out.
    Timeout,
    /// The connection broke.
    Broken,
    /// The daemon that made the attempt is gone; the journal knows only that it began.
    OwnerGone,
}

impl Evidence {
    /// The HTTP status, when there was an answer.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Answer(answer) => Some(answer.status),
            Self::NotSent(_) | Self::NoAnswer(_) => None,
        }
    }

    /// The wait that the API asked for.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answer(answer) => answer.retry_after,
            Self::NotSent(_) | Self::NoAnswer(_) => None,
        }
    }
}

/// In words, for logs and details; never the answer's body, which may hold personal data.
impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(answer) => write!(f, "the API answered HTTP {}", answer.status),
            Self::NotSent(NotSent::Connect) => f.write_str("not sent: no connection to the API"),
            Self::NotSent(NotSent::Dns) => f.write_str("not sent: the API's host name did not resolve"),
            Self::NotSent(NotSent::Tls) => f.write_str("not sent: the TLS handshake with the API failed"),
            Self::NotSent(NotSent::Proxy(problem)) => {
                write!(f, "not sent: no connection to the API through the proxy {problem}")
            }
            Self::NoAnswer(NoAnswer::Timeout) => f.write_str("no answer within api.timeout"),
            Self::NoAnswer(NoAnswer::Broken) => f.write_str("the connection broke before the answer"),
            Self::NoAnswer(NoAnswer::OwnerGone) => f.write_str("the daemon that sent it was gone before the answer"),
        }
    }
}
