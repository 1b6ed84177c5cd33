use super::*;
use crate::{
    gate::Gate,
    telemetry::{
        Limits, Telemetry,
        events::{
            ConnectFailed, Connected, ConnectionLost, ConsumerStarted, ConsumerStopped, GateClosed, GateOpened,
            TopologyMissing,
        },
    },
};

const LIMITS: Limits = Limits { max_in_flight: 8, prefetch: 16 };

fn consuming(gate: &Gate) -> Telemetry {
    let telemetry = Telemetry::new(gate.clone(), LIMITS, &crate::domain::tier::Tiers::default()).unwrap();
    Role::ALL.into_iter().for_each(|role| telemetry.record(Connected { role }));
    telemetry.record(ConsumerStarted { queue: "edna.commands", prefetch: 80 });
    telemetry
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
    assert_eq!(ready(&consuming(&Gate::default())), (true, "consuming".to_owned()));
}

#[test]
fn ready_while_it_waits_as_the_api_asked() {
    let gate = Gate::default();
    let telemetry = consuming(&gate);
    let _hold = gate.close(GateReason::Throttle);
    telemetry.record(ConsumerStopped { why: "the gate is closed" });
    assert_eq!(ready(&telemetry), (true, "paused: throttle".to_owned()));
}

#[test]
fn not_ready_while_a_closed_gate_needs_a_hand() {
    for reason in [GateReason::Auth, GateReason::Blocked, GateReason::Drain] {
        let gate = Gate::default();
        let telemetry = consuming(&gate);
        let hold = gate.close(reason);
        let _on_purpose = gate.close(GateReason::Throttle);
        check_not_ready(&telemetry, &[reason.as_str(), remedy(reason)]);
        telemetry.record(GateClosed { reason, problem: "seen this" });
        check_not_ready(&telemetry, &["seen this", remedy(reason)]);
        drop(hold);
        telemetry.record(GateOpened { reason });
        assert!(ready(&telemetry).0, "{reason} is over");
        let _again = gate.close(reason);
        assert!(!ready(&telemetry).1.contains("seen this"), "an old problem is not told of a new closure");
    }
}

#[test]
fn not_ready_without_both_links() {
    let telemetry = Telemetry::new(Gate::default(), LIMITS, &crate::domain::tier::Tiers::default()).unwrap();
    check_not_ready(
        &telemetry,
        &["consume: not connected to the broker yet", "publish: not connected to the broker yet"],
    );
    let (role, problem) = (Role::Publish, "refused; check broker.url");
    telemetry.record(ConnectFailed { role, problem, retry_in: Duration::ZERO });
    check_not_ready(&telemetry, &["publish: not connected to the broker: refused; check broker.url"]);
    for lost in Role::ALL {
        let telemetry = consuming(&Gate::default());
        telemetry.record(ConnectionLost { role: lost, problem: "reset" });
        check_not_ready(&telemetry, &[lost.as_str(), "reset"]);
    }
}

#[test]
fn not_ready_until_the_broker_hands_out_commands_again() {
    let telemetry = consuming(&Gate::default());
    telemetry.record(ConnectionLost { role: Role::Consume, problem: "reset" });
    telemetry.record(Connected { role: Role::Consume });
    check_not_ready(&telemetry, &["does not hand out commands yet"]);
}

#[test]
fn not_ready_with_an_incomplete_topology() {
    let telemetry = consuming(&Gate::default());
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
        ..Telemetry::new(Gate::default(), LIMITS, &crate::domain::tier::Tiers::default()).unwrap().snapshot()
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
    let gate = Gate::default();
    let telemetry = Telemetry::new(gate.clone(), LIMITS, &crate::domain::tier::Tiers::default()).unwrap();
    let _holds = GateReason::ALL.map(|reason| gate.close(reason));
    assert!(Probe::live(&telemetry.snapshot()).is_well);
}
