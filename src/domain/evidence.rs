//! The evidence of one attempt: everything that is known about it, before the verdict.

use std::{fmt, sync::Arc, time::Duration};

/// The result of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The API answered, with any status.
    Answer(Answer),
    /// No connection was established, so the request cannot have left.
    NotSent(NotSent),
    /// There is no token to send, so no request was made.
    NoToken(NoToken),
    /// The request may have left, and no complete answer arrived.
    NoAnswer(NoAnswer),
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoToken {
    /// How the login failed, and what to do; without secrets.
    pub problem: Arc<str>,
    /// The wait that the login's response requested.
    pub retry_after: Option<Duration>,
}

/// The part of the API's answer that verdicts and events depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// `Retry-After`, converted from either of its forms to a duration from now.
    pub retry_after: Option<Duration>,
    /// The body, at most 64 KiB; `None` when it was longer or incomplete.
    pub body: Option<Vec<u8>>,
}

/// Why no connection was established.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NotSent {
    /// The TCP connection was refused, unreachable or timed out.
    Connect,
    /// The host name did not resolve.
    Dns,
    /// The TLS handshake failed.
    Tls,
    /// The proxy could not be reached or refused the connection: its scheme, host and port, and the error.
    Proxy(Arc<str>),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoAnswer {
    /// `api.timeout` expired.
    Timeout,
    /// The connection broke.
    Broken,
    /// The daemon that made the attempt is gone; the journal contains only its start.
    OwnerGone,
}

impl Evidence {
    /// Returns the HTTP status of the answer.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Answer(answer) => Some(answer.status),
            Self::NotSent(_) | Self::NoToken(_) | Self::NoAnswer(_) => None,
        }
    }

    /// Whether there was an attempt at all: a request, or a connection for one.
    #[must_use]
    pub const fn is_of_attempt(&self) -> bool {
        !matches!(self, Self::NoToken(_))
    }

    /// Returns the wait that the API requested.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answer(answer) => answer.retry_after,
            Self::NoToken(no_token) => no_token.retry_after,
            Self::NotSent(_) | Self::NoAnswer(_) => None,
        }
    }
}

/// For logs and details. Omits the body, which may contain personal data.
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
            Self::NoToken(NoToken { problem, .. }) => f.write_str(problem),
            Self::NoAnswer(NoAnswer::Timeout) => f.write_str("no answer within api.timeout"),
            Self::NoAnswer(NoAnswer::Broken) => f.write_str("the connection broke before the answer"),
            Self::NoAnswer(NoAnswer::OwnerGone) => {
                f.write_str("the daemon that sent the request was gone before the answer")
            }
        }
    }
}
