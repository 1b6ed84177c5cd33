//! What is known of the daemon's own state, written by events and read by the probes. Nothing here can block:
//! stamps are atomics, and the one lock is held for a copy.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::gate::GateReason;

/// Which of the two connections to the broker; they are apart so that a blocked publisher can't block acks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Brings commands and settles them.
    Consume,
    /// Takes events and dead letters.
    Publish,
}

impl Role {
    /// Both, for closed label sets.
    pub const ALL: [Self; 2] = [Self::Consume, Self::Publish];

    /// The word in metrics, logs and `/status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consume => "consume",
            Self::Publish => "publish",
        }
    }
}

/// One link to the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Since when it is up; `None` while it is down.
    pub connected_since: Option<Timestamp>,
    /// What went wrong last and when; kept after the link is back.
    pub last_problem: Option<(Timestamp, String)>,
    was_up: bool,
}

impl Link {
    /// Whether it is connected now.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.connected_since.is_some()
    }
}

/// What is known of the broker's side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerView {
    consume: Link,
    publish: Link,
    /// The broker hands commands out to us.
    pub consumer_active: bool,
    /// How many consumers the queue of commands has, ours included, as the broker counted them last; 0 before.
    pub consumers: u32,
    /// What the topology lacks, as far as we found out.
    pub topology_problem: Option<String>,
}

impl BrokerView {
    /// The link of a role.
    #[must_use]
    pub const fn link(&self, role: Role) -> &Link {
        match role {
            Role::Consume => &self.consume,
            Role::Publish => &self.publish,
        }
    }

    const fn link_mut(&mut self, role: Role) -> &mut Link {
        match role {
            Role::Consume => &mut self.consume,
            Role::Publish => &mut self.publish,
        }
    }

    /// Whether both links are up.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        Role::ALL.into_iter().all(|role| self.link(role).is_up())
    }
}

/// The state behind the probes.
#[derive(Debug)]
pub(crate) struct Health {
    started: Instant,
    /// Milliseconds from `started` to the last turn of the data plane's event loop.
    beat_ms: AtomicU64,
    /// Milliseconds from `started` to the last moment when work moved, or had a reason to stand still.
    moved_ms: AtomicU64,
    /// Milliseconds since the epoch; 0 before the first success.
    last_success_ms: AtomicI64,
    broker: Mutex<BrokerView>,
    /// Why the gate was closed, by reason, in the words of whoever closed it.
    problems: Mutex<[Option<String>; GateReason::ALL.len()]>,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            beat_ms: AtomicU64::new(0),
            moved_ms: AtomicU64::new(0),
            last_success_ms: AtomicI64::new(0),
            broker: Mutex::default(),
            problems: Mutex::default(),
        }
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The data plane's event loop turned.
    pub(crate) fn beat(&self) {
        self.beat_ms.store(self.millis(), Relaxed);
    }

    /// Work moved, or has a reason to stand still.
    pub(crate) fn moved(&self) {
        self.moved_ms.store(self.millis(), Relaxed);
    }

    pub(crate) fn since_beat(&self) -> Duration {
        self.since(&self.beat_ms)
    }

    pub(crate) fn since_moved(&self) -> Duration {
        self.since(&self.moved_ms)
    }

    pub(crate) fn succeeded(&self, at: Timestamp) {
        self.last_success_ms.store(at.as_millisecond(), Relaxed);
    }

    pub(crate) fn last_success(&self) -> Option<Timestamp> {
        let at_ms = self.last_success_ms.load(Relaxed);
        (at_ms != 0).then(|| Timestamp::from_millisecond(at_ms).ok()).flatten()
    }

    /// Tells whether the link was up before, so that this is a return.
    pub(crate) fn connected(&self, role: Role, at: Timestamp) -> bool {
        let mut broker = lock(&self.broker);
        let link = broker.link_mut(role);
        link.connected_since = Some(at);
        std::mem::replace(&mut link.was_up, true)
    }

    pub(crate) fn disconnected(&self, role: Role, at: Timestamp, problem: &str) {
        let mut broker = lock(&self.broker);
        let link = broker.link_mut(role);
        link.connected_since = None;
        link.last_problem = Some((at, problem.to_owned()));
        if role == Role::Consume {
            broker.consumer_active = false;
        }
    }

    pub(crate) fn set_consumer_active(&self, active: bool) {
        lock(&self.broker).consumer_active = active;
    }

    pub(crate) fn set_consumers(&self, consumers: u32) {
        lock(&self.broker).consumers = consumers;
    }

    pub(crate) fn set_topology_problem(&self, problem: Option<&str>) {
        lock(&self.broker).topology_problem = problem.map(str::to_owned);
    }

    pub(crate) fn broker(&self) -> BrokerView {
        lock(&self.broker).clone()
    }

    pub(crate) fn set_gate_problem(&self, reason: GateReason, problem: Option<&str>) {
        if let Some(slot) = lock(&self.problems).get_mut(reason as usize) {
            *slot = problem.map(str::to_owned);
        }
    }

    pub(crate) fn gate_problem(&self, reason: GateReason) -> Option<String> {
        lock(&self.problems).get(reason as usize).cloned().flatten()
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.uptime().as_millis()).unwrap_or(u64::MAX)
    }

    fn since(&self, stamp_ms: &AtomicU64) -> Duration {
        Duration::from_millis(self.millis().saturating_sub(stamp_ms.load(Relaxed)))
    }
}

/// A panic elsewhere leaves plain values behind, never broken ones, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
