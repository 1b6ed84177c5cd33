//! `/status`: the snapshot as JSON.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::telemetry::{ConnectionStatus, GateClosure, IsolationReason, Role, Snapshot, TelemetryLimits};

/// The response body of `/status`; times are RFC 3339, durations whole seconds.
#[derive(Debug, Serialize)]
pub(super) struct StatusBody {
    version: &'static str,
    uptime_seconds: u64,
    gate: GateBody,
    links: ConnectionBodies,
    consumer_active: bool,
    /// Consumers of the command queue, including this daemon; 0 before the first count.
    consumers: u32,
    /// Why commands are taken one at a time; `null` if they are not.
    isolation: Option<&'static str>,
    /// Whether the order of a device's commands is not kept because other daemons consume the queue.
    order_suspended: bool,
    /// What the topology lacks; `null` if nothing is known to be missing.
    topology_problem: Option<String>,
    /// Why a missing journal record proves nothing; `null` while the journal is complete, as far as is known.
    journal_doubt: Option<String>,
    /// The tiers whose queues do not return their messages.
    stuck_tiers: Vec<String>,
    limits: TelemetryLimits,
    in_hand: i64,
    in_flight: i64,
    /// `null` before the first success.
    last_success: Option<String>,
}

#[derive(Debug, Serialize)]
struct GateBody {
    open: bool,
    /// The reasons that keep the gate closed.
    reasons: Vec<&'static str>,
    /// The reported problems, by reason.
    problems: BTreeMap<&'static str, String>,
}

#[derive(Debug, Serialize)]
struct ConnectionBodies {
    consume: ConnectionBody,
    publish: ConnectionBody,
}

#[derive(Debug, Serialize)]
struct ConnectionBody {
    /// `null` while the connection is down.
    connected_since: Option<String>,
    /// Kept after a reconnect; `null` before the first problem.
    last_problem: Option<ConnectionProblem>,
}

#[derive(Debug, Serialize)]
struct ConnectionProblem {
    at: String,
    problem: String,
}

impl StatusBody {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        let connection = |role| ConnectionBody::new(snapshot.broker.connection(role));
        Self {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: snapshot.uptime.as_secs(),
            gate: GateBody::new(snapshot.closed_by),
            links: ConnectionBodies { consume: connection(Role::Consume), publish: connection(Role::Publish) },
            consumer_active: snapshot.broker.consumer_active,
            consumers: snapshot.broker.consumers,
            isolation: snapshot.broker.isolation.map(IsolationReason::as_str),
            order_suspended: snapshot.broker.order_suspended,
            topology_problem: snapshot.broker.topology_problem,
            journal_doubt: snapshot.journal_doubt,
            stuck_tiers: snapshot.stuck_tiers.into_iter().map(|stuck| stuck.tier).collect(),
            limits: snapshot.limits,
            in_hand: snapshot.in_hand,
            in_flight: snapshot.in_flight,
            last_success: snapshot.last_success.map(rfc3339),
        }
    }
}

impl GateBody {
    fn new(closed_by: Vec<GateClosure>) -> Self {
        Self {
            open: closed_by.is_empty(),
            reasons: closed_by.iter().map(|closure| closure.reason.as_str()).collect(),
            problems: closed_by
                .into_iter()
                .filter_map(|closure| Some((closure.reason.as_str(), closure.problem?)))
                .collect(),
        }
    }
}

impl ConnectionBody {
    fn new(status: &ConnectionStatus) -> Self {
        let last_problem = status.last_problem.clone();
        Self {
            connected_since: status.connected_since.map(rfc3339),
            last_problem: last_problem.map(|(at, problem)| ConnectionProblem { at: rfc3339(at), problem }),
        }
    }
}

/// With milliseconds, as in events.
fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}
