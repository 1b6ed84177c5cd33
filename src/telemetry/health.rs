//! The daemon's health: written by events, read by the probes and the metrics. Never blocks: timestamps are atomic, and
//! locks are held for a copy only.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use super::broker_status::{BrokerStatus, IsolationReason, Role, StuckTier};
use crate::{
    domain::{
        tier::{Tier, Tiers},
        tier_watch::TierWatch,
    },
    gate::GateReason,
    sync::lock,
};

/// A reason that keeps the gate closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateClosure {
    /// Why the gate is closed.
    pub reason: GateReason,
    /// What was observed; `None` if the component that closed the gate logs the cause itself.
    pub problem: Option<String>,
}

/// The daemon's health.
#[derive(Debug)]
pub(crate) struct Health {
    started: Instant,
    /// Milliseconds from `started` to the last heartbeat.
    heartbeat_ms: AtomicU64,
    /// Milliseconds from `started` to the last progress.
    progress_ms: AtomicU64,
    /// Milliseconds since the Unix epoch; 0 before the first success.
    last_success_ms: AtomicI64,
    broker: Mutex<BrokerStatus>,
    journal_doubt: Mutex<Option<String>>,
    tiers: Mutex<Vec<(Tier, TierWatch)>>,
    closures: Mutex<[Option<GateClosure>; GateReason::ALL.len()]>,
}

impl Health {
    pub(crate) fn new(tiers: &Tiers) -> Self {
        let tiers = tiers.iter().map(|tier| (tier.clone(), TierWatch::default())).collect();
        Self {
            started: Instant::now(),
            heartbeat_ms: AtomicU64::new(0),
            progress_ms: AtomicU64::new(0),
            last_success_ms: AtomicI64::new(0),
            broker: Mutex::default(),
            journal_doubt: Mutex::default(),
            tiers: Mutex::new(tiers),
            closures: Mutex::default(),
        }
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Records that the event loop of the data plane runs.
    pub(crate) fn record_heartbeat(&self) {
        self.heartbeat_ms.store(self.uptime_ms(), Relaxed);
    }

    /// Records that a command progressed, or is waiting for an external cause.
    pub(crate) fn record_progress(&self) {
        self.progress_ms.store(self.uptime_ms(), Relaxed);
    }

    pub(crate) fn since_heartbeat(&self) -> Duration {
        self.since(&self.heartbeat_ms)
    }

    pub(crate) fn since_progress(&self) -> Duration {
        self.since(&self.progress_ms)
    }

    pub(crate) fn record_success(&self, at: Timestamp) {
        self.last_success_ms.store(at.as_millisecond(), Relaxed);
    }

    pub(crate) fn last_success(&self) -> Option<Timestamp> {
        let at_ms = self.last_success_ms.load(Relaxed);
        (at_ms != 0).then(|| Timestamp::from_millisecond(at_ms).ok()).flatten()
    }

    /// Returns whether this is a reconnect.
    pub(crate) fn connected(&self, role: Role, at: Timestamp) -> bool {
        lock(&self.broker).connection_mut(role).connected(at)
    }

    pub(crate) fn disconnected(&self, role: Role, at: Timestamp, problem: &str) {
        let mut broker = lock(&self.broker);
        broker.connection_mut(role).disconnected(at, problem);
        if role == Role::Consume {
            broker.consumer_active = false;
        }
    }

    pub(crate) fn set_consumer_active(&self, active: bool) {
        lock(&self.broker).consumer_active = active;
    }

    pub(crate) fn set_isolation(&self, reason: Option<IsolationReason>) {
        lock(&self.broker).isolation = reason;
    }

    pub(crate) fn set_consumers(&self, consumers: u32) {
        lock(&self.broker).consumers = consumers;
    }

    pub(crate) fn set_order_suspended(&self, is_suspended: bool) {
        lock(&self.broker).order_suspended = is_suspended;
    }

    pub(crate) fn set_topology_problem(&self, problem: Option<&str>) {
        lock(&self.broker).topology_problem = problem.map(str::to_owned);
    }

    /// Records that a command was sent to the tier of this index.
    pub(crate) fn record_delay(&self, tier: usize) {
        if let Some((_, watch)) = lock(&self.tiers).get_mut(tier) {
            watch.record_sent(self.uptime());
        }
    }

    /// Records a count of the messages in a tier; returns whether it is stuck if that has changed.
    pub(crate) fn observe_tier(&self, tier: usize, messages: u64) -> Option<bool> {
        let is_shared = lock(&self.broker).has_other_consumers();
        let mut tiers = lock(&self.tiers);
        let (tier, watch) = tiers.get_mut(tier)?;
        watch.observe(messages, tier.length, is_shared, self.uptime())
    }

    pub(crate) fn tier_name(&self, tier: usize) -> String {
        lock(&self.tiers).get(tier).map(|(tier, _)| tier.name.clone()).unwrap_or_default()
    }

    /// The stuck ones of all tiers, by index.
    pub(crate) fn stuck_tiers(&self) -> Vec<Option<StuckTier>> {
        let stuck = |(tier, watch): &(Tier, TierWatch)| {
            watch.stuck_messages().map(|messages| StuckTier { tier: tier.name.clone(), messages })
        };
        lock(&self.tiers).iter().map(stuck).collect()
    }

    pub(crate) fn broker(&self) -> BrokerStatus {
        lock(&self.broker).clone()
    }

    pub(crate) fn set_journal_doubt(&self, reason: Option<&str>) {
        *lock(&self.journal_doubt) = reason.map(str::to_owned);
    }

    pub(crate) fn journal_doubt(&self) -> Option<String> {
        lock(&self.journal_doubt).clone()
    }

    pub(crate) fn gate_closed(&self, reason: GateReason, problem: Option<&str>) {
        if let Some(closure) = lock(&self.closures).get_mut(reason as usize) {
            *closure = Some(GateClosure { reason, problem: problem.map(str::to_owned) });
        }
    }

    pub(crate) fn gate_opened(&self, reason: GateReason) {
        if let Some(closure) = lock(&self.closures).get_mut(reason as usize) {
            *closure = None;
        }
    }

    /// The reasons that keep the gate closed, in the order of [`GateReason::ALL`].
    pub(crate) fn gate_closures(&self) -> Vec<GateClosure> {
        lock(&self.closures).iter().flatten().cloned().collect()
    }

    pub(crate) fn is_gate_open(&self) -> bool {
        lock(&self.closures).iter().all(Option::is_none)
    }

    /// The last reported problem of a reason that keeps the gate closed.
    pub(crate) fn gate_problem(&self, reason: GateReason) -> Option<String> {
        lock(&self.closures).get(reason as usize)?.as_ref()?.problem.clone()
    }

    fn uptime_ms(&self) -> u64 {
        u64::try_from(self.uptime().as_millis()).unwrap_or(u64::MAX)
    }

    fn since(&self, stamp_ms: &AtomicU64) -> Duration {
        Duration::from_millis(self.uptime_ms().saturating_sub(stamp_ms.load(Relaxed)))
    }
}
