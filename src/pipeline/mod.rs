//! From a delivery to its outcome: the dispatcher takes it in hand and gives it its turn, attempt posts it, settle tells
//! what became of it.
//!
//! Knows no AMQP and no HTTP, only ports. A delivery ends in one of two ways: settled (its outcome is stored by the broker,
//! then it is acknowledged) or released (nothing is acknowledged, and the broker hands it out again).

mod attempt;
mod dispatcher;
mod journey;
mod keeper;
mod place;
mod prefetch;
mod remember;
mod rules;
mod settle;
mod telling;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use self::{
    dispatcher::Drained,
    prefetch::first_prefetch,
    rules::{Concurrency, Order, Rules},
};
use self::{keeper::Keeper, telling::Telling};
use crate::{gate::Gate, ports::Ports, telemetry::Telemetry};

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
    keeper: Arc<Keeper>,
    telling: Telling,
    /// Cancelled when the daemon shuts down: no attempt starts any more.
    drain: CancellationToken,
}

impl<P: Ports> Pipeline<P> {
    /// A pipeline that takes no more work once `drain` is cancelled.
    #[must_use]
    pub fn new(rules: Rules, ports: P, gate: Gate, telemetry: Telemetry, drain: CancellationToken) -> Self {
        let keeper = Arc::new(Keeper::new(gate.clone()));
        Self { shared: Arc::new(Shared { rules, ports, gate, telemetry, keeper, telling: Telling::default(), drain }) }
    }
}
