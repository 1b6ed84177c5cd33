use std::sync::Arc;

use super::*;
use crate::{
    gate::Gate,
    telemetry::{
        Limits, Telemetry,
        events::{ConnectFailed, Connected, ConnectionLost, ConsumerStarted, ConsumerStopped, TopologyMissing},
    },
};

const LIMITS: Limits = Limits { max_in_flight: 8, prefetch: 16 };

fn new() -> (Gate, Telemetry) {
    let telemetry = Telemetry::new(LIMITS, &crate::domain::tier::Tiers::default()).unwrap();
    (Gate::observed_by(Arc::new(telemetry.clone())), telemetry)
}

fn consuming() -> (Gate, Telemetry) {
    let (gate, telemetry) = new();
    Role::ALL.into_iter().for_each(|role| telemetry.record(Connected { role }));
    telemetry.record(ConsumerStarted { queue: "edna.commands", prefetch: 80 });
    (gate, telemetry)
}

fn ready(telemetry: &Telemetry) -> (bool, String) {
    let probe = Probe::ready(&telemetry.snapshot());
    (probe.is_well, probe.told.join("\n"))
}

#[track_caller]
fn check_not_ready(telemetry: &Telemetry, told: &[&str]) {
    let (is_well, lines) = ready(telemetry);
    assert!(!is_well, "{lines}");
    for word in told {
        assert!(lines.contains(word), "{word:?} is not in: {lines}");
    }
}

#[test]
fn ready_while_it_takes_commands() {
    assert_eq!(ready(&consuming().1), (true, "consuming".to_owned()));
}

#[test]
fn ready_while_it_waits_as_the_api_asked() {
    let (gate, telemetry) = consuming();
    let _hold = gate.close(GateReason::Throttle, "429");
    telemetry.record(ConsumerStopped { why: "the gate is closed" });
    assert_eq!(ready(&telemetry), (true, "paused: throttle".to_owned()));
}

#[test]
fn not_ready_while_a_closed_gate_needs_a_hand() {
    for reason in [GateReason::Auth, GateReason::Blocked] {
        let (gate, telemetry) = consuming();
        let hold = gate.close_unreported(reason);
        let _on_purpose = gate.close(GateReason::Throttle, "429");
        check_not_ready(&telemetry, &[reason.as_str(), remedy(reason)]);
        hold.report("first problem");
        check_not_ready(&telemetry, &["first problem", remedy(reason)]);
        drop(hold);
        let _again = gate.close_unreported(reason);
        assert!(!ready(&telemetry).1.contains("first problem"), "the problem of an earlier closure is shown");
    }
}

#[test]
fn not_ready_without_both_links() {
    let telemetry = new().1;
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
fn not_ready_until_the_broker_hands_out_commands_again() {
    let telemetry = consuming().1;
    telemetry.record(ConnectionLost { role: Role::Consume, problem: "reset" });
    telemetry.record(Connected { role: Role::Consume });
    check_not_ready(&telemetry, &["does not hand out commands yet"]);
}

#[test]
fn not_ready_with_an_incomplete_topology() {
    let telemetry = consuming().1;
    telemetry.record(TopologyMissing { problem: "no queue edna.dead" });
    check_not_ready(&telemetry, &["no queue edna.dead", "broker.declare"]);
}

/// A snapshot with these ages, as a check of the probe's own bounds.
#[track_caller]
fn check_live(since_beat_s: u64, in_hand: i64, since_moved_s: u64, told: &str) {
    let probe = Probe::live(&Snapshot {
        since_beat: Duration::from_secs(since_beat_s),
        since_moved: Duration::from_secs(since_moved_s),
        in_hand,
        ..new().1.snapshot()
    });
    assert_eq!((probe.is_well, probe.told.join("\n").as_str()), (told == "alive", told));
}

#[test]
fn alive_while_the_loop_turns_and_work_moves() {
    check_live(0, 0, 0, "alive");
    check_live(29, 5, 599, "alive");
    check_live(1, 0, 100_000, "alive");
    check_live(30, 0, 0, "the event loop has not turned for 30 s");
    check_live(1, 5, 600, "work is stuck: 5 in hand and none has moved for 600 s");
    check_live(
        700,
        1,
        601,
        "the event loop has not turned for 700 s\nwork is stuck: 1 in hand and none has moved for 601 s",
    );
}

#[test]
fn alive_without_a_broker_and_with_a_closed_gate() {
    let (gate, telemetry) = new();
    let _holds = GateReason::ALL.map(|reason| gate.close(reason, "closed"));
    assert!(Probe::live(&telemetry.snapshot()).is_well);
}
