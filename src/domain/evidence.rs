//! What one attempt left in our hands, before anybody judges it.

use std::time::Duration;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotSent {
    /// TCP connect refused, unreachable or timed out.
    Connect,
    /// The host name did not resolve.
    Dns,
    /// The TLS handshake failed.
    Tls,
}

/// How an attempt ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoAnswer {
    /// `api.timeout` ran out.
    Timeout,
    /// The connection broke.
    Broken,
}
