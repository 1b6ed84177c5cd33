//! From a delivery to its outcome: intake takes it in hand, attempt posts it, settle tells what became of it.
//!
//! Knows no AMQP and no HTTP, only ports. A delivery ends in one of two ways: settled (its outcome is stored by the broker,
//! then it is acknowledged) or released (nothing is acknowledged, and the broker hands it out again).

mod attempt;
mod intake;
mod journey;
mod keeper;
mod permission;
mod remember;
mod settle;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use self::intake::Drained;
use self::keeper::Keeper;
use crate::{
    domain::{command::OnUncertain, decode::Limits, event::EventFormat, tier::Tiers, verdict::StatusLists},
    gate::Gate,
    ports::Ports,
    telemetry::Telemetry,
};

/// What an installation may choose.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What a command may look like.
    pub limits: Limits,
    /// The key of the device in the request.
    pub descriptor_field: String,
    /// Which status means what.
    pub statuses: StatusLists,
    /// After so many attempts a command is exhausted.
    pub max_attempts: u32,
    /// Where commands wait for long.
    pub tiers: Tiers,
    /// For commands that do not say.
    pub on_uncertain: OnUncertain,
    /// A deadline for commands that have none, counted from when they were made.
    pub default_ttl: Option<Duration>,
    /// How events look.
    pub event_format: EventFormat,
    /// Whether events also go to the command's `reply_to`.
    pub replies: bool,
    /// How many attempts may be under way at once.
    pub max_in_flight: usize,
    /// How long work in hand may take to finish at shutdown.
    pub drain: Duration,
}

/// Everything that the work on one delivery needs; cheap to clone.
pub struct Pipeline<P: Ports> {
    shared: Arc<Shared<P>>,
}

impl<P: Ports> Clone for Pipeline<P> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

struct Shared<P: Ports> {
    rules: Rules,
    ports: P,
    gate: Gate,
    telemetry: Telemetry,
    /// One permit an attempt.
    slots: Semaphore,
    keeper: Keeper,
    /// Cancelled when the daemon shuts down: no attempt starts any more.
    drain: CancellationToken,
}

impl<P: Ports> Pipeline<P> {
    /// A pipeline that takes no more work once `drain` is cancelled.
    #[must_use]
    pub fn new(rules: Rules, ports: P, gate: Gate, telemetry: Telemetry, drain: CancellationToken) -> Self {
        let slots = Semaphore::new(rules.max_in_flight);
        let keeper = Keeper::new(gate.clone(), telemetry.clone());
        Self { shared: Arc::new(Shared { rules, ports, gate, telemetry, slots, keeper, drain }) }
    }
}
