//! The state of the broker's connections, consumer and topology as plain data.

use jiff::Timestamp;

use crate::domain::tier::Tiers;

/// The purpose of a broker connection; two connections, so that a blocked publisher cannot block acks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Receives commands and acknowledges them.
    Consume,
    /// Publishes events and dead letters.
    Publish,
}

impl Role {
    /// Both roles, for closed label sets.
    pub const ALL: [Self; 2] = [Self::Consume, Self::Publish];

    /// The label in metrics, logs and `/status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consume => "consume",
            Self::Publish => "publish",
        }
    }
}

/// Why commands are taken one at a time: a message may end each session that receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IsolationReason {
    /// Sessions in a row ended before their deliveries were proven harmless.
    SessionsEnded,
    /// The broker has taken the next commands back several times, from sessions or daemons that ended.
    Returned,
}

impl IsolationReason {
    /// Both reasons, for closed label sets.
    pub const ALL: [Self; 2] = [Self::SessionsEnded, Self::Returned];

    /// The label in metrics, logs and `/status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SessionsEnded => "sessions_ended",
            Self::Returned => "returned",
        }
    }

    /// The explanation in logs and `/readyz`.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::SessionsEnded => "consume sessions in a row ended soon after they had begun",
            Self::Returned => "the broker has taken the next commands back from several sessions that ended",
        }
    }
}

/// A queue whose messages are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WatchedQueue {
    /// `<p>.commands`
    Commands,
    /// `<p>.events`, if it exists.
    Events,
    /// `<p>.dead`
    Dead,
    /// `<p>.unroutable`
    Unroutable,
    /// `<p>.retry.<tier>`, by the tier's index among the configured tiers.
    Tier(usize),
}

impl WatchedQueue {
    /// All queues, for closed label sets.
    pub fn all(tiers: &Tiers) -> impl Iterator<Item = Self> {
        let tiers = tiers.iter().enumerate().map(|(index, _)| Self::Tier(index));
        [Self::Commands, Self::Events, Self::Dead, Self::Unroutable].into_iter().chain(tiers)
    }

    /// The queue's name without the prefix.
    #[must_use]
    pub fn label(self, tiers: &Tiers) -> String {
        match self {
            Self::Commands => "commands".to_owned(),
            Self::Events => "events".to_owned(),
            Self::Dead => "dead".to_owned(),
            Self::Unroutable => "unroutable".to_owned(),
            Self::Tier(index) => ["retry.", tiers.get(index).map_or("", |tier| &tier.name)].concat(),
        }
    }
}

/// A delay queue that does not return its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StuckTier {
    /// The tier's name.
    pub tier: String,
    /// The messages in the queue.
    pub messages: u64,
}

/// The state of one connection to the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionStatus {
    /// When the connection was opened; `None` while it is down.
    pub connected_since: Option<Timestamp>,
    /// The last problem and its time; kept after a reconnect.
    pub last_problem: Option<(Timestamp, String)>,
    was_connected: bool,
}

impl ConnectionStatus {
    /// Whether the connection is up now.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.connected_since.is_some()
    }

    /// Returns whether this is a reconnect.
    pub(super) fn connected(&mut self, at: Timestamp) -> bool {
        self.connected_since = Some(at);
        std::mem::replace(&mut self.was_connected, true)
    }

    pub(super) fn disconnected(&mut self, at: Timestamp, problem: &str) {
        self.connected_since = None;
        self.last_problem = Some((at, problem.to_owned()));
    }
}

/// The state of the broker as the daemon knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerStatus {
    consume: ConnectionStatus,
    publish: ConnectionStatus,
    /// Whether the broker delivers commands to this daemon.
    pub consumer_active: bool,
    /// Consumers of the command queue, including this daemon, at the last count; 0 before the first count.
    pub consumers: u32,
    /// Why commands are taken one at a time; `None` if they are not.
    pub isolation: Option<IsolationReason>,
    /// Whether the order of a device's commands is not kept because other daemons consume the queue.
    pub order_suspended: bool,
    /// What the topology lacks; `None` if nothing is known to be missing.
    pub topology_problem: Option<String>,
}

impl BrokerStatus {
    /// The connection of a role.
    #[must_use]
    pub const fn connection(&self, role: Role) -> &ConnectionStatus {
        match role {
            Role::Consume => &self.consume,
            Role::Publish => &self.publish,
        }
    }

    pub(super) const fn connection_mut(&mut self, role: Role) -> &mut ConnectionStatus {
        match role {
            Role::Consume => &mut self.consume,
            Role::Publish => &mut self.publish,
        }
    }

    /// Whether other daemons may consume the command queue.
    #[must_use]
    pub const fn has_other_consumers(&self) -> bool {
        self.consumers > 1 || self.order_suspended
    }

    /// Whether both connections are up.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        Role::ALL.into_iter().all(|role| self.connection(role).is_connected())
    }
}
