//! Messages that the daemon publishes.

use bytes::Bytes;

use super::{
    properties::Properties,
    reason::{Outcome, Reason},
};

/// The destination of a message. The AMQP adapter maps it to an exchange and a routing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `<p>.events`, routing key `send.<outcome>.<channelType>`.
    Event {
        /// The second word of the routing key.
        outcome: Outcome,
        /// The third word of the routing key; `unknown` if the command's channel is not readable.
        channel_type: String,
    },
    /// `<p>.dead`, routing key = reason.
    Dead(Reason),
    /// The queue in the command's `reply_to`, through the default exchange.
    Reply(String),
    /// `<p>.retry.<tier>`; after the tier's length the broker dead-letters it to `<p>.commands` with the same key.
    Tier {
        /// The name of the tier.
        tier: String,
        /// `send`, or the key of the command's partition.
        key: String,
    },
}

impl Target {
    /// The values of the metric label `target`, in the order of [`Target::index`].
    pub const LABELS: [&'static str; 4] = ["event", "dead", "reply", "retry"];

    /// Returns the index of the label in [`Target::LABELS`].
    #[must_use]
    pub const fn index(&self) -> usize {
        match self {
            Self::Event { .. } => 0,
            Self::Dead(_) => 1,
            Self::Reply(_) => 2,
            Self::Tier { .. } => 3,
        }
    }
}

/// A message to publish, always persistent, mandatory and confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The destination.
    pub target: Target,
    /// Content type, ids and headers.
    pub properties: Properties,
    /// The payload, reference-counted, so that a repeated publish copies nothing.
    pub body: Bytes,
}

impl Message {
    /// Returns the same message for another target.
    #[must_use]
    pub fn to_target(&self, target: Target) -> Self {
        Self { target, ..self.clone() }
    }
}
