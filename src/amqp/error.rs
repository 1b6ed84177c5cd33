//! Why a session ended or could not begin.

use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt};
use lapin::Event;

/// Every one of them is answered alike: drop the session, wait, build a new one.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// TCP, TLS or the AMQP handshake did not succeed.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Host and port.
        address: String,
        /// The library's word for it.
        source: lapin::Error,
    },
    /// The library, the broker or the network ended it.
    #[error("{0}")]
    Broken(#[from] lapin::Error),
    /// An operation did not come back in time.
    #[error("the broker did not answer {operation} within {} s", .deadline.as_secs())]
    Deadline {
        /// What was asked.
        operation: &'static str,
        /// How long was waited.
        deadline: Duration,
    },
    /// The broker cancelled our consumer: the queue was deleted or moved, or an acknowledgement took too long.
    #[error("the broker cancelled the consumer of queue {0}")]
    Cancelled(String),
    /// The broker knows of no consumer, though it never said that it cancelled ours.
    #[error("the broker knows of no consumer of queue {0}, though ours was never cancelled")]
    Unregistered(String),
    /// The connection's event stream ended.
    #[error("the connection ended")]
    Ended,
    /// Exchanges and queues, each by kind and name, are not there.
    #[error("missing: {}", .0.join(", "))]
    Missing(Vec<String>),
    /// Exchanges and queues, each by kind and name, are there and are others than ours.
    #[error("of another type, which no policy can mend: {}; stop who uses them, move their messages away, delete them", .0.join(", "))]
    WrongType(Vec<String>),
    /// The broker does not let us declare something.
    #[error("the broker refuses to declare {0}")]
    Refused(String),
}

impl SessionError {
    /// What the connection told of its end, if it did: a session that ends in the middle of something sees only that this failed.
    pub(super) fn or_cause(self, mut events: impl Stream<Item = Event> + Unpin) -> Self {
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
    fn what_the_connection_told_comes_before_what_failed_for_it() {
        let large = AMQPError::new(AMQPHardError::FRAMEERROR.into(), "frame too large".into());
        let told = [Event::Connected, Event::Error(ErrorKind::ProtocolError(large).into())];
        let failed = || SessionError::Cancelled("commands".to_owned());
        assert!(matches!(failed().or_cause(iter(told)), SessionError::Broken(_)));
        assert!(matches!(failed().or_cause(iter([Event::Connected])), SessionError::Cancelled(_)));
        assert!(matches!(failed().or_cause(empty()), SessionError::Cancelled(_)));
    }
}
