//! The requested behaviour of the proxy, which its tasks watch, and its counters.

use std::sync::atomic::AtomicU64;

use super::{
    frames::{is_confirm, is_delivery_related, is_heartbeat},
    role::Role,
};

/// A direction through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// The requested behaviour of the proxy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Control {
    pub(super) accepting: bool,
    /// Indexed by [`Role`].
    pub(super) faults: [Faults; Role::ALL.len()],
}

/// The faults of all connections with one role.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    /// Bytes are forwarded in this direction.
    pub(super) to_server: bool,
    pub(super) to_client: bool,
    pub(super) blackhole: bool,
    pub(super) withhold_confirms: bool,
    /// Bytes from the server are held back, except heartbeats.
    pub(super) only_heartbeats: bool,
    /// Deliveries and the replies to subscriptions are held back.
    pub(super) withhold_deliveries: bool,
    /// Incremented to close all connections made before.
    pub(super) cuts: u64,
    /// Incremented to lose all connections made before.
    pub(super) losses: u64,
}

pub(super) const HEALTHY: Faults = Faults {
    to_server: true,
    to_client: true,
    blackhole: false,
    withhold_confirms: false,
    only_heartbeats: false,
    withhold_deliveries: false,
    cuts: 0,
    losses: 0,
};

impl Control {
    pub(super) fn of(&self, role: Role) -> &Faults {
        &self.faults[role as usize]
    }
}

impl Faults {
    /// Whether this frame from the server is held back.
    pub(super) fn withholds(&self, frame: &[u8]) -> bool {
        self.withhold_confirms && is_confirm(frame)
            || self.only_heartbeats && !is_heartbeat(frame)
            || self.withhold_deliveries && is_delivery_related(frame)
    }

    /// Whether some frames from the server are held back.
    pub(super) fn withholds_some(&self) -> bool {
        self.withhold_confirms || self.only_heartbeats || self.withhold_deliveries
    }

    pub(super) fn flows(&self, direction: Direction) -> bool {
        match direction {
            Direction::ToServer => self.to_server,
            Direction::ToClient => self.to_client,
        }
    }
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: AtomicU64,
    pub(super) open: AtomicU64,
    pub(super) bytes_to_server: AtomicU64,
    pub(super) bytes_to_client: AtomicU64,
    pub(super) confirms_withheld: AtomicU64,
    pub(super) blackholed: AtomicU64,
}

impl Counters {
    pub(super) fn bytes(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::ToServer => &self.bytes_to_server,
            Direction::ToClient => &self.bytes_to_client,
        }
    }
}
