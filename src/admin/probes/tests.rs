//! The probes for states of the daemon.

use std::sync::Arc;

use super::*;
use crate::{
    domain::tier::Tiers,
    gate::Gate,
    telemetry::{
        IsolationReason, Telemetry, TelemetryLimits, WatchedQueue,
        events::{
            ConnectFailed, Connected, ConnectionLost, ConsumerStarted, ConsumerStopped, IsolationEnded,
            IsolationStarted, TopologyMissing,
        },
    },
};

const LIMITS: TelemetryLimits = TelemetryLimits { max_in_flight: 8, prefetch: 16 };

fn disconnected() -> (Gate, Telemetry) {
    let telemetry = Telemetry::new(LIMITS, &Tiers::default()).unwrap();
    (Gate::observed_by(Arc::new(telemetry.clone())), telemetry)
}

fn consuming() -> (Gate, Telemetry) {
    let (gate, telemetry) = disconnected();
    Role::ALL.into_iter().for_each(|role| telemetry.record(Connected { role }));
    telemetry.record(ConsumerStarted { queue: "edna.commands", prefetch: 80 });
    (gate, telemetry)
}

/// The response of `/readyz` just after a heartbeat.
fn ready(telemetry: &Telemetry) -> (bool, String) {
    let report = ProbeReport::ready(&Snapshot { since_heartbeat: Duration::ZERO, ..telemetry.snapshot() });
    (report.is_ok, report.lines.join("\n"))
}

#[track_caller]
fn check_not_ready(telemetry: &Telemetry, parts: &[&str]) {
    let (is_ok, lines) = ready(telemetry);
    assert!(!is_ok, "{lines}");
    for part in parts {
        assert!(lines.contains(part), "{part:?} is not in: {lines}");
    }
}

#[test]
fn ready_while_consuming_is_ok() {
    assert_eq!(ready(&consuming().1), (true, "consuming".to_owned()));
}

#[test]
fn ready_tells_that_commands_are_taken_one_at_a_time() {
    let telemetry = consuming().1;
    let reason = IsolationReason::SessionsEnded;
    telemetry.record(IsolationStarted { reason, queue: "edna.commands", sessions: 2 });
    assert_eq!(ready(&telemetry), (true, format!("consuming, one command at a time: {}", reason.explanation())));
    telemetry.record(ConnectionLost { role: Role::Consume, problem: "reset" });
    check_not_ready(&telemetry, &["reset", "one command at a time: "]);
    telemetry.record(Connected { role: Role::Consume });
    telemetry.record(ConsumerStarted { queue: "edna.commands", prefetch: 80 });
    let ended = IsolationEnded { queue: "edna.commands", dead: "edna.dead", sessions: 0, since: None, problem: "" };
    telemetry.record(ended);
    assert_eq!(ready(&telemetry), (true, "consuming".to_owned()));
}

#[test]
fn ready_while_throttled_is_ok() {
    let (gate, telemetry) = consuming();
    let _hold = gate.close(GateReason::Throttle, "429");
    telemetry.record(ConsumerStopped { why: "the gate is closed" });
    assert_eq!(ready(&telemetry), (true, "paused: throttle".to_owned()));
}

#[test]
fn ready_with_a_failure_that_closes_the_gate_fails() {
    for reason in [GateReason::Auth, GateReason::Blocked] {
        let (gate, telemetry) = consuming();
        let hold = gate.close_unreported(reason);
        let _throttle = gate.close(GateReason::Throttle, "429");
        check_not_ready(&telemetry, &[reason.as_str(), remedy(reason)]);
        hold.report("first problem");
        check_not_ready(&telemetry, &["first problem", remedy(reason)]);
        drop(hold);
        assert_eq!(ready(&telemetry), (true, "paused: throttle".to_owned()));
        let _again = gate.close_unreported(reason);
        assert!(!ready(&telemetry).1.contains("first problem"), "the problem of an earlier closure is shown");
    }
}

#[test]
fn ready_without_both_connections_fails() {
    let telemetry = disconnected().1;
    check_not_ready(
        &telemetry,
        &["consume: not connected to the broker yet", "publish: not connected to the broker yet"],
    );
    let (role, problem) = (Role::Publish, "refused; check broker.url");
    telemetry.record(ConnectFailed { role, problem, retry_in: Duration::ZERO });
    check_not_ready(&telemetry, &["publish: not connected to the broker: refused; check broker.url"]);
    for lost in Role::ALL {
        let telemetry = consuming().1;
        telemetry.record(ConnectionLost { role: lost, problem: "reset" });
        check_not_ready(&telemetry, &[lost.as_str(), "reset"]);
    }
}

#[test]
fn ready_before_the_consumer_starts_fails() {
    let telemetry = consuming().1;
    telemetry.record(ConnectionLost { role: Role::Consume, problem: "reset" });
    telemetry.record(Connected { role: Role::Consume });
    check_not_ready(&telemetry, &["does not deliver commands yet"]);
}

#[test]
fn ready_with_an_incomplete_topology_fails() {
    let telemetry = consuming().1;
    telemetry.record(TopologyMissing { problem: "no queue edna.dead" });
    check_not_ready(&telemetry, &["no queue edna.dead", "broker.declare"]);
}

#[tokio::test(start_paused = true)]
async fn ready_with_a_stuck_tier_fails() {
    let telemetry = consuming().1;
    for (seconds, is_ready) in [(0, true), (25, true), (1, false)] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        telemetry.observe_queue(WatchedQueue::Tier(0), 3);
        assert_eq!(ready(&telemetry).0, is_ready);
    }
    check_not_ready(&telemetry, &["tier: queue retry.5s does not return its 3 messages", "topology verify"]);
    telemetry.observe_queue(WatchedQueue::Tier(0), 2);
    assert!(ready(&telemetry).0);
}

#[test]
fn ready_on_a_stalled_loop_fails() {
    for (seconds, is_ok, line) in [(9, true, "consuming"), (10, false, "the event loop has stalled for 10 s")] {
        let since_heartbeat = Duration::from_secs(seconds);
        let report = ProbeReport::ready(&Snapshot { since_heartbeat, ..consuming().1.snapshot() });
        assert_eq!((report.is_ok, report.lines.join("\n").as_str()), (is_ok, line));
    }
}

/// Checks `/livez` for a snapshot with these ages.
#[track_caller]
fn check_live(since_heartbeat_s: u64, in_hand: i64, since_progress_s: u64, text: &str) {
    let report = ProbeReport::live(&Snapshot {
        since_heartbeat: Duration::from_secs(since_heartbeat_s),
        since_progress: Duration::from_secs(since_progress_s),
        in_hand,
        ..disconnected().1.snapshot()
    });
    assert_eq!((report.is_ok, report.lines.join("\n").as_str()), (text == "alive", text));
}

#[test]
fn live_fails_on_a_stalled_loop_or_missing_progress() {
    check_live(0, 0, 0, "alive");
    check_live(29, 5, 599, "alive");
    check_live(1, 0, 100_000, "alive");
    check_live(30, 0, 0, "the event loop has stalled for 30 s");
    check_live(1, 5, 600, "no progress for 600 s; commands in hand: 5");
    check_live(700, 1, 601, "the event loop has stalled for 700 s\nno progress for 601 s; commands in hand: 1");
}

#[test]
fn live_without_broker_and_with_closed_gate_is_ok() {
    let (gate, telemetry) = disconnected();
    let _holds = GateReason::ALL.map(|reason| gate.close(reason, "closed"));
    assert!(ProbeReport::live(&telemetry.snapshot()).is_ok);
}
