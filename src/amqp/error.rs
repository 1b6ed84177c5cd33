//! Why a session ended or could not begin.

use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt};
use lapin::Event;

/// Every error is handled alike: drop the session, back off, build a new one.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// TCP, TLS or the AMQP handshake failed.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Host and port.
        address: String,
        /// The client library's error.
        source: lapin::Error,
    },
    /// The client library, the broker or the network failed.
    #[error("{0}")]
    Lapin(#[from] lapin::Error),
    /// An operation did not complete in time.
    #[error("the broker did not answer {operation} within {} s", .timeout.as_secs())]
    Timeout {
        /// AMQP method, or a short description.
        operation: &'static str,
        /// How long the session waited.
        timeout: Duration,
    },
    /// The broker cancelled the consumer: the queue was deleted or moved, or an acknowledgement took too long.
    #[error("the broker cancelled the consumer of queue {0}")]
    ConsumerCancelled(String),
    /// The broker counts no consumer on the queue, without having cancelled this one.
    #[error("the broker counts no consumer on queue {0}, although it did not cancel this one")]
    ConsumerUnknown(String),
    /// Large bodies arrived before their size was known. The connection is aborted: the broker may be sending more.
    #[error(
        "bodies of {} MiB arrived at once, more than limits.max_bytes_in_hand allows; taking fewer messages from now on",
        .bytes >> 20
    )]
    TooManyBytes {
        /// Of the bodies in hand.
        bytes: usize,
    },
    /// The connection's event stream ended.
    #[error("the connection closed")]
    ConnectionClosed,
    /// Exchanges and queues, each by kind and name, do not exist.
    #[error("missing: {}", .0.join(", "))]
    Missing(Vec<String>),
    /// Exchanges and queues, each by kind and name, exist with a type that the contract does not allow.
    #[error(
        "of another type, which no policy can change: {}; stop their clients, move their messages, then delete them",
        .0.join(", ")
    )]
    WrongType(Vec<String>),
    /// The broker refuses a declaration.
    #[error("the broker refuses to declare {0}")]
    DeclareRefused(String),
}

impl SessionError {
    /// Returns the error that the connection reported, if any, else `self`: an operation that fails because the
    /// connection broke reports only its own failure.
    pub(super) fn or_connection_error(self, mut events: impl Stream<Item = Event> + Unpin) -> Self {
        while let Some(Some(event)) = events.next().now_or_never() {
            if let Event::Error(error) = event {
                return error.into();
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::{empty, iter};
    use lapin::{
        ErrorKind,
        protocol::{AMQPError, AMQPHardError},
    };

    use super::*;

    #[test]
    fn connection_error_replaces_its_consequence() {
        let frame_error = AMQPError::new(AMQPHardError::FRAMEERROR.into(), "frame too large".into());
        let events = [Event::Connected, Event::Error(ErrorKind::ProtocolError(frame_error).into())];
        let consequence = || SessionError::ConsumerCancelled("commands".to_owned());
        assert!(matches!(consequence().or_connection_error(iter(events)), SessionError::Lapin(_)));
        let other_events = iter([Event::Connected]);
        assert!(matches!(consequence().or_connection_error(other_events), SessionError::ConsumerCancelled(_)));
        assert!(matches!(consequence().or_connection_error(empty()), SessionError::ConsumerCancelled(_)));
    }
}
