//! What the daemon publishes: where to, with which properties, which bytes.

use bytes::Bytes;

use super::{
    properties::Properties,
    reason::{Outcome, Reason},
};

/// Where a message goes; the AMQP adapter knows the exchange and the routing key of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `<p>.events`, key `send.<outcome>.<channelType>`.
    Event {
        /// The second word of the routing key.
        outcome: Outcome,
        /// The third word of the routing key; `unknown` when the command's could not be read.
        channel_type: String,
    },
    /// `<p>.dead`, key = reason.
    Dead(Reason),
    /// The queue that the command's `reply_to` names, through the default exchange.
    Reply(String),
    /// `<p>.retry.<tier>`; after the tier's length the broker sends it to `<p>.commands` with the same key.
    Tier {
        /// Which delay queue.
        tier: String,
        /// `send`, or the key of the partition that the command came by.
        key: String,
    },
}

impl Target {
    /// The words for the metric label `target`, in the order of [`Target::index`].
    pub const LABELS: [&'static str; 4] = ["event", "dead", "reply", "retry"];

    /// Where this target's label stands in [`Target::LABELS`].
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

/// A message to publish: persistent, mandatory and confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it goes.
    pub target: Target,
    /// Content type, ids and headers.
    pub properties: Properties,
    /// The payload; shared, so that publishing again copies nothing.
    pub body: Bytes,
}

impl Message {
    /// The same message for another target, such as the queue that `reply_to` names.
    #[must_use]
    pub fn to_target(&self, target: Target) -> Self {
        Self { target, ..self.clone() }
    }
}
