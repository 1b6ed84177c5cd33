//! `/livez` and `/readyz`: pure functions of a snapshot.

use std::time::Duration;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::{
    gate::GateReason,
    telemetry::{
        GateClosure, Role, Snapshot, StuckTier,
        events::{STUCK_TIER_REMEDY, TOPOLOGY_REMEDY, remedy},
    },
};

/// Maximum age of the last heartbeat of a daemon that is alive; one is recorded every second.
const MAX_HEARTBEAT_AGE: Duration = Duration::from_secs(30);

/// The same for a daemon that is ready: what the other components reported before is out of date.
const MAX_READY_HEARTBEAT_AGE: Duration = Duration::from_secs(10);

/// Maximum time without progress; longer than any attempt, delay or publish while the gate is open and the broker is
/// connected.
const MAX_PROGRESS_AGE: Duration = Duration::from_secs(10 * 60);

/// The response of a probe: 200 or 503, and one line per finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProbeReport {
    is_ok: bool,
    lines: Vec<String>,
}

impl ProbeReport {
    /// Fails only if a restart would help: the event loop stalls, or commands in hand make no progress. Does not depend
    /// on the broker or the API.
    pub(super) fn live(now: &Snapshot) -> Self {
        let mut problems: Vec<_> = stalled_loop(now, MAX_HEARTBEAT_AGE).into_iter().collect();
        if now.in_hand > 0 && now.since_progress >= MAX_PROGRESS_AGE {
            let (in_hand, stuck_s) = (now.in_hand, now.since_progress.as_secs());
            problems.push(format!("no progress for {stuck_s} s; commands in hand: {in_hand}"));
        }
        Self::new(problems, || "alive".to_owned())
    }

    /// Succeeds while commands are consumed, and while the gate is closed on purpose and will open again. Fails while the
    /// event loop stalls.
    pub(super) fn ready(now: &Snapshot) -> Self {
        let (paused, closed): (Vec<_>, Vec<_>) = now.closed_by.iter().partition(|closure| is_pause(closure.reason));
        let stalled = stalled_loop(now, MAX_READY_HEARTBEAT_AGE);
        let mut problems: Vec<_> = stalled.into_iter().chain(closed.into_iter().map(gate_problem)).collect();
        problems.extend(Role::ALL.into_iter().filter_map(|role| connection_problem(now, role)));
        if let Some(problem) = &now.broker.topology_problem {
            problems.push(format!("topology: {problem}; {TOPOLOGY_REMEDY}"));
        }
        problems.extend(now.stuck_tiers.iter().map(|StuckTier { tier, messages }| {
            format!("tier: queue retry.{tier} does not return its {messages} messages; {STUCK_TIER_REMEDY}")
        }));
        if problems.is_empty() && paused.is_empty() && !now.broker.consumer_active {
            problems.push("consume: connected, but the broker does not deliver commands yet".to_owned());
        }
        let isolation = now.broker.isolation.map(|reason| format!("one command at a time: {}", reason.explanation()));
        if !problems.is_empty() {
            problems.extend(isolation.clone());
        }
        Self::new(problems, || match paused.as_slice() {
            [] => ["consuming".to_owned()].into_iter().chain(isolation).collect::<Vec<_>>().join(", "),
            paused => format!("paused: {}", paused.iter().map(|c| c.reason.as_str()).collect::<Vec<_>>().join(", ")),
        })
    }

    fn new(problems: Vec<String>, success: impl FnOnce() -> String) -> Self {
        let is_ok = problems.is_empty();
        Self { is_ok, lines: if is_ok { vec![success()] } else { problems } }
    }
}

fn stalled_loop(now: &Snapshot, max_age: Duration) -> Option<String> {
    let age = now.since_heartbeat;
    (age >= max_age).then(|| format!("the event loop has stalled for {} s", age.as_secs()))
}

/// The API or an operator requested the pause; the other reasons are failures, or the end.
const fn is_pause(reason: GateReason) -> bool {
    matches!(reason, GateReason::Throttle | GateReason::Operator)
}

fn gate_problem(closure: &GateClosure) -> String {
    let (reason, remedy) = (closure.reason, remedy(closure.reason));
    match &closure.problem {
        Some(problem) => format!("{reason}: {problem}; {remedy}"),
        None => format!("{reason}: {remedy}"),
    }
}

fn connection_problem(now: &Snapshot, role: Role) -> Option<String> {
    let connection = now.broker.connection(role);
    let role = role.as_str();
    (!connection.is_connected()).then(|| match &connection.last_problem {
        Some((_, problem)) => format!("{role}: not connected to the broker: {problem}"),
        None => format!("{role}: not connected to the broker yet; check broker.url if this lasts"),
    })
}

impl IntoResponse for ProbeReport {
    fn into_response(self) -> Response {
        let status = if self.is_ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, self.lines.join("\n") + "\n").into_response()
    }
}

#[cfg(test)]
mod tests;
