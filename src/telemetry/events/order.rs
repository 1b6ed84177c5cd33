//! Events of the order of commands.

use tracing::{info, warn};

use super::event::TelemetryEvent;
use crate::{domain::schedule::OrderCounters, telemetry::state::TelemetryState};

/// Commands were delayed to keep the order, or their order was given up.
#[derive(Clone, Copy, Debug)]
pub struct OrderEvents {
    /// The counters at the last report.
    pub before: OrderCounters,
    /// The counters now.
    pub now: OrderCounters,
}

impl TelemetryEvent for OrderEvents {
    fn count(&self, state: &TelemetryState) {
        state.metrics.commands.count_order_events(self.before, self.now);
    }

    fn log(&self) {
        let (before, now) = (self.before, self.now);
        let (forgotten, given_up) = (now.forgotten - before.forgotten, now.given_up - before.given_up);
        if forgotten + given_up > 0 {
            warn!(
                forgotten,
                given_up,
                "the order of commands is no longer guaranteed: {forgotten} did not return in time, \
                 {given_up} exceeded the number of delayed commands that are tracked"
            );
        }
    }
}

/// Other daemons began or ceased to consume the queue. While they do, the commands of a device have no order.
#[derive(Clone, Copy, Debug)]
pub struct OrderSuspended {
    /// Whether they do.
    pub is_suspended: bool,
    /// Whether `limits.device_interval` is set, which needs the order.
    pub has_device_interval: bool,
}

impl TelemetryEvent for OrderSuspended {
    fn count(&self, state: &TelemetryState) {
        state.health.set_order_suspended(self.is_suspended);
    }

    fn log(&self) {
        if self.is_suspended && self.has_device_interval {
            warn!(
                "other daemons consume the command queue: the order of a device's commands is not kept, and \
                 limits.device_interval is not applied; run one daemon on the queue, or unset limits.device_interval and \
                 set delivery.order = \"none\""
            );
        } else if self.is_suspended {
            warn!(
                "other daemons consume the command queue: the order of a device's commands is not kept; run one daemon \
                 on the queue, or set delivery.order = \"none\""
            );
        } else {
            info!(
                "no other daemon consumes the command queue: the order of a device's commands{} from now on",
                if self.has_device_interval { " is kept, and limits.device_interval is applied," } else { " is kept" }
            );
        }
    }
}
