//! `/status`: the snapshot as JSON, in the words of the metrics and the settings.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::telemetry::{Closure, Limits, Link, Role, Snapshot};

/// The body of `/status`; times are RFC 3339, durations whole seconds.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    uptime_seconds: u64,
    gate: GateStatus,
    links: Links,
    consumer_active: bool,
    /// Of the queue of commands, ours included; 0 before the broker was asked.
    consumers: u32,
    /// What the topology lacks; `null` when nothing is known to be missing.
    topology_problem: Option<String>,
    limits: Limits,
    in_hand: i64,
    in_flight: i64,
    /// `null` before the first.
    last_success: Option<String>,
}

#[derive(Debug, Serialize)]
struct GateStatus {
    open: bool,
    /// What keeps it closed.
    reasons: Vec<&'static str>,
    /// What was seen, by reason, where it was told.
    problems: BTreeMap<&'static str, String>,
}

#[derive(Debug, Serialize)]
struct Links {
    consume: LinkStatus,
    publish: LinkStatus,
}

#[derive(Debug, Serialize)]
struct LinkStatus {
    /// `null` while it is down.
    connected_since: Option<String>,
    /// Kept after the link is back; `null` when there was none.
    last_problem: Option<Problem>,
}

#[derive(Debug, Serialize)]
struct Problem {
    at: String,
    problem: String,
}

impl Status {
    pub(super) fn of(now: Snapshot) -> Self {
        let link = |role| LinkStatus::of(now.broker.link(role));
        Self {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: now.uptime.as_secs(),
            gate: GateStatus::of(now.closed_by),
            links: Links { consume: link(Role::Consume), publish: link(Role::Publish) },
            consumer_active: now.broker.consumer_active,
            consumers: now.broker.consumers,
            topology_problem: now.broker.topology_problem,
            limits: now.limits,
            in_hand: now.in_hand,
            in_flight: now.in_flight,
            last_success: now.last_success.map(rfc3339),
        }
    }
}

impl GateStatus {
    fn of(closed_by: Vec<Closure>) -> Self {
        Self {
            open: closed_by.is_empty(),
            reasons: closed_by.iter().map(|closure| closure.reason.as_str()).collect(),
            problems: closed_by
                .into_iter()
                .filter_map(|Closure { reason, problem }| Some((reason.as_str(), problem?)))
                .collect(),
        }
    }
}

impl LinkStatus {
    fn of(link: &Link) -> Self {
        let problem = link.last_problem.clone();
        Self {
            connected_since: link.connected_since.map(rfc3339),
            last_problem: problem.map(|(at, problem)| Problem { at: rfc3339(at), problem }),
        }
    }
}

/// To the millisecond, as in events.
fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}
