//! `/livez` and `/readyz`: pure functions of a snapshot.

use std::time::Duration;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::{
    gate::GateReason,
    telemetry::{
        Closure, Role, Snapshot,
        events::{TOPOLOGY_REMEDY, remedy},
    },
};

/// A heartbeat is due every second; this long without one is no longer a busy moment.
const BEAT_IS_STALE: Duration = Duration::from_secs(30);

/// Longer than any attempt, wait or publish takes while the gate is open and the broker is there.
const WORK_IS_STUCK: Duration = Duration::from_secs(10 * 60);

/// What a probe answers: 200 or 503, and a line for each thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    is_well: bool,
    told: Vec<String>,
}

impl Probe {
    /// Whether a restart would help: the event loop turns and, when work is in hand, it moves. Never the broker or the
    /// API, which a restart doesn't mend.
    pub(super) fn live(now: &Snapshot) -> Self {
        let mut told = Vec::new();
        if now.since_beat >= BEAT_IS_STALE {
            told.push(format!("the event loop has not turned for {} s", now.since_beat.as_secs()));
        }
        if now.in_hand > 0 && now.since_moved >= WORK_IS_STUCK {
            let (in_hand, stuck_s) = (now.in_hand, now.since_moved.as_secs());
            told.push(format!("work is stuck: {in_hand} in hand and none has moved for {stuck_s} s"));
        }
        Self::well_unless(told, || "alive".to_owned())
    }

    /// Whether commands are taken, or are left in the queue on purpose and for a while.
    pub(super) fn ready(now: &Snapshot) -> Self {
        let (paused, closed): (Vec<_>, Vec<_>) =
            now.closed_by.iter().partition(|closure| is_on_purpose(closure.reason));
        let mut told: Vec<_> = closed.into_iter().map(closed_line).collect();
        told.extend(Role::ALL.into_iter().filter_map(|role| link_line(now, role)));
        if let Some(problem) = &now.broker.topology_problem {
            told.push(format!("topology: {problem}; {TOPOLOGY_REMEDY}"));
        }
        if told.is_empty() && paused.is_empty() && !now.broker.consumer_active {
            told.push("consume: connected, and the broker does not hand out commands yet".to_owned());
        }
        Self::well_unless(told, || match paused.as_slice() {
            [] => "consuming".to_owned(),
            paused => format!("paused: {}", paused.iter().map(|c| c.reason.as_str()).collect::<Vec<_>>().join(", ")),
        })
    }

    fn well_unless(problems: Vec<String>, well: impl FnOnce() -> String) -> Self {
        let is_well = problems.is_empty();
        Self { is_well, told: if is_well { vec![well()] } else { problems } }
    }
}

/// To wait as the API or an operator asked is our own choice. The others need a hand, or are the end.
const fn is_on_purpose(reason: GateReason) -> bool {
    matches!(reason, GateReason::Throttle | GateReason::Operator)
}

fn closed_line(closure: &Closure) -> String {
    let (reason, remedy) = (closure.reason, remedy(closure.reason));
    match &closure.problem {
        Some(problem) => format!("{reason}: {problem}; {remedy}"),
        None => format!("{reason}: {remedy}"),
    }
}

fn link_line(now: &Snapshot, role: Role) -> Option<String> {
    let link = now.broker.link(role);
    let role = role.as_str();
    (!link.is_up()).then(|| match &link.last_problem {
        Some((_, problem)) => format!("{role}: not connected to the broker: {problem}"),
        None => format!("{role}: not connected to the broker yet; see broker.url when this lasts"),
    })
}

impl IntoResponse for Probe {
    fn into_response(self) -> Response {
        let status = if self.is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, self.told.join("\n") + "\n").into_response()
    }
}

#[cfg(test)]
mod tests;
