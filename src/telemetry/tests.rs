use std::collections::BTreeSet;

use tokio::time::advance;

use super::{
    events::{
        AttemptMade, CommandFinished, CommandReceived, ConnectFailed, Connected, ConnectionLost, ConsumerStarted,
        ConsumerStopped, ConsumersCounted, CredentialRefresh, GateClosed, GateOpened, PublishConfirmed, PublishFailed,
        TopologyMissing, TopologyVerified,
    },
    logging::{Style, subscriber},
    *,
};
use crate::{
    domain::{
        command::CommandId,
        evidence::{Answer, Evidence, NoAnswer, NotSent},
        message::Target,
        reason::{Outcome, Reason},
        verdict::Verdict,
    },
    gate::GateReason,
    ports::PublishError,
};

const SECOND: Duration = Duration::from_secs(1);

fn telemetry() -> (Gate, Telemetry) {
    let gate = Gate::default();
    (
        gate.clone(),
        Telemetry::new(gate, Limits { max_in_flight: 8, prefetch: 16 }, &crate::domain::tier::Tiers::default())
            .unwrap(),
    )
}

/// Every sample of ours by name and labels, histograms by their `_count`.
fn samples(telemetry: &Telemetry) -> Vec<(String, f64)> {
    let text = telemetry.scrape().unwrap();
    let ours = text.lines().filter(|line| line.starts_with("courier_"));
    ours.map(|line| line.rsplit_once(' ').unwrap())
        .filter(|(name, _)| !name.contains("_bucket{") && !name.contains("_sum"))
        .map(|(name, value)| (name.strip_prefix("courier_").unwrap().to_owned(), value.parse().unwrap()))
        .collect()
}

#[test]
fn every_family_is_there_at_zero_with_its_closed_label_set() {
    let (_, telemetry) = telemetry();
    let golden: BTreeSet<_> = include_str!("tests/golden.txt").lines().map(str::to_owned).collect();
    let found: BTreeSet<_> = samples(&telemetry).into_iter().map(|(name, value)| format!("{name} {value}")).collect();
    let version = concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1");
    assert_eq!(found, golden.into_iter().chain([version.to_owned()]).collect());
}

#[test]
#[cfg(target_os = "linux")]
fn the_process_is_measured() {
    let text = telemetry().1.scrape().unwrap();
    for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"] {
        assert!(text.contains(&format!("\n{name} ")), "{name}");
    }
}

#[test]
fn two_instances_count_apart() {
    let ((_, one), (_, other)) = (telemetry(), telemetry());
    one.record(CommandReceived { redelivered: false, waited: None });
    assert!(one.scrape().unwrap().contains("courier_commands_received_total{redelivered=\"false\"} 1"));
    assert!(other.scrape().unwrap().contains("courier_commands_received_total{redelivered=\"false\"} 0"));
}

/// Records an event, and checks the samples that it changes and what its line says.
#[track_caller]
fn check(telemetry: &Telemetry, event: impl Event, level: &str, changed: &[&str], said: &[&str]) {
    use std::{io::Read, os::unix::net::UnixStream, sync::Arc};
    let before = samples(telemetry);
    let (mut lines, writer) = UnixStream::pair().unwrap();
    let json = subscriber("trace", Style::Json, Arc::new(writer)).unwrap();
    tracing::subscriber::with_default(json, || telemetry.record(event));
    let mut line = String::new();
    lines.read_to_string(&mut line).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    for word in said.iter().chain([&format!("\"level\":\"{level}\"").as_str()]) {
        assert!(line.contains(word), "{word:?} is not in: {line}");
    }
    let after = samples(telemetry);
    let found = before.iter().zip(&after).filter(|(before, after)| before != after).map(|(_, after)| after.0.as_str());
    assert_eq!(found.collect::<Vec<_>>(), changed);
}

#[test]
fn commands_log_and_count() {
    let (_, telemetry) = telemetry();
    let id = CommandId::new("order-1").unwrap();
    let received = CommandReceived { redelivered: true, waited: Some(SECOND) };
    let changed = ["commands_received_total{redelivered=\"true\"}", "queue_wait_seconds_count"];
    check(&telemetry, received, "DEBUG", &changed, &["\"redelivered\":true", "\"waited_ms\":1000"]);

    let finished = CommandFinished {
        command_id: Some(&id),
        reason: None,
        detail: None,
        attempts: 2,
        age: SECOND,
        possible_duplicate: true,
    };
    let changed = [
        "command_age_seconds_count",
        "commands_finished_total{outcome=\"succeeded\",reason=\"none\"}",
        "last_success_timestamp_seconds",
        "possible_duplicates_total",
    ];
    check(&telemetry, finished, "DEBUG", &changed, &["order-1", "\"attempts\":2", "succeeded"]);

    for reason in Reason::ALL.into_iter().filter(|reason| *reason != Reason::Poison) {
        let (outcome, word) = (reason.outcome().as_str(), reason.as_str());
        let sample = format!("commands_finished_total{{outcome=\"{outcome}\",reason=\"{word}\"}}");
        let dead = CommandFinished {
            command_id: None,
            reason: Some(reason),
            detail: Some("deviceAddress: missing"),
            possible_duplicate: false,
            ..finished
        };
        let said = [word, outcome, "without a readable id", "deviceAddress: missing"];
        check(&telemetry, dead, "WARN", &["command_age_seconds_count", &sample], &said);
    }
}

#[test]
fn attempts_log_and_count_without_the_answer() {
    let (_, telemetry) = telemetry();
    let command_id = &CommandId::new("order-1").unwrap();
    let answer = |status| Evidence::Answer(Answer { status, retry_after: None, body: Some(b"SECRET".to_vec()) });
    let cases = [
        (Verdict::Delivered, answer(201), "2xx", "HTTP 201"),
        (Verdict::Throttled, answer(429), "4xx", "HTTP 429"),
        (Verdict::Rejected, answer(302), "3xx", "HTTP 302"),
        (Verdict::Uncertain, answer(500), "5xx", "HTTP 500"),
        (Verdict::Uncertain, Evidence::NoAnswer(NoAnswer::Timeout), "none", "api.timeout"),
        (Verdict::Retry, Evidence::NotSent(NotSent::Dns), "none", "did not resolve"),
    ];
    for (verdict, evidence, class, told) in cases {
        let made = AttemptMade { command_id, verdict, evidence: &evidence, took: SECOND };
        let verdict_label = format!("{{verdict=\"{}\"}}", verdict.as_str());
        let changed = [
            format!("api_request_duration_seconds_count{verdict_label}"),
            format!("api_responses_total{{status_class=\"{class}\"}}"),
            format!("attempts_total{verdict_label}"),
        ];
        let level = if verdict == Verdict::Uncertain { "INFO" } else { "DEBUG" };
        let said = [told, "\"command_id\":\"order-1\"", "\"took_ms\":1000"];
        check(&telemetry, made, level, &changed.each_ref().map(String::as_str), &said);
    }
}

#[test]
fn publishes_log_and_count() {
    let (_, telemetry) = telemetry();
    let event = Target::Event { outcome: Outcome::Succeeded, channel_type: "SECRET".to_owned() };
    let targets =
        [(event, "event"), (Target::Dead(Reason::Expired), "dead"), (Target::Reply("SECRET".into()), "reply")];
    for (target, word) in &targets {
        let confirms = format!("publish_confirm_seconds_count{{target=\"{word}\"}}");
        let confirmed = format!("publishes_total{{result=\"confirmed\",target=\"{word}\"}}");
        check(&telemetry, PublishConfirmed { target, took: SECOND }, "TRACE", &[&confirms, &confirmed], &[word]);
        for (error, result, level) in [
            (PublishError::Returned, "returned", "WARN"),
            (PublishError::Refused, "refused", "WARN"),
            (PublishError::Unconfirmed, "unconfirmed", "DEBUG"),
        ] {
            let failed = format!("publishes_total{{result=\"{result}\",target=\"{word}\"}}");
            check(&telemetry, PublishFailed { target, error }, level, &[&failed], &[word, &error.to_string()]);
        }
    }
}

#[test]
fn links_log_and_count_and_only_a_return_is_a_reconnect() {
    let (_, telemetry) = telemetry();
    let role = Role::Consume;
    let (up, returns) = ("connected{role=\"consume\"}", "reconnects_total{role=\"consume\"}");
    let failed = ConnectFailed { role, problem: "refused", retry_in: SECOND };
    check(&telemetry, failed, "WARN", &[], &["refused", "1000 ms"]);
    check(&telemetry, Connected { role }, "INFO", &[up], &["consume"]);
    check(&telemetry, ConsumerStarted { queue: "q", prefetch: 80 }, "INFO", &["consumer_active"], &["\"queue\":\"q\""]);
    check(&telemetry, ConsumersCounted { consumers: 2 }, "TRACE", &["consumers"], &["\"consumers\":2"]);
    check(&telemetry, ConsumerStopped { why: "closed" }, "INFO", &["consumer_active"], &["closed"]);
    telemetry.record(ConsumerStarted { queue: "q", prefetch: 80 });
    check(&telemetry, ConnectionLost { role, problem: "reset" }, "WARN", &[up, "consumer_active"], &["reset"]);
    check(&telemetry, Connected { role }, "INFO", &[up, returns], &["consume"]);
    check(&telemetry, TopologyMissing { problem: "no queue x" }, "ERROR", &[], &["no queue x", "broker.declare"]);
    assert_eq!(telemetry.snapshot().broker.topology_problem.as_deref(), Some("no queue x"));
    check(&telemetry, TopologyVerified, "DEBUG", &[], &["complete"]);
    assert_eq!(telemetry.snapshot().broker.topology_problem, None);
}

#[test]
fn the_gate_gauge_follows_the_gate_and_not_the_lines() {
    let (gate, telemetry) = telemetry();
    let closed = |reason: GateReason| {
        let sample = format!("gate_closed{{reason=\"{reason}\"}}");
        samples(&telemetry).into_iter().find(|(name, _)| *name == sample).unwrap().1
    };
    for (reason, level) in
        GateReason::ALL.into_iter().zip(["ERROR", "WARN", "ERROR", "ERROR", "ERROR", "ERROR", "WARN", "INFO"])
    {
        let two = [gate.close(reason), gate.close(reason)];
        let event = GateClosed { reason, problem: "seen" };
        check(&telemetry, event, level, &[], &["seen", reason.as_str(), events::remedy(reason)]);
        let [one, other] = two;
        drop(one);
        check(&telemetry, GateOpened { reason }, "INFO", &[], &[reason.as_str()]);
        assert_eq!(closed(reason), 1.0, "one hold is left");
        drop(other);
        assert_eq!(closed(reason), 0.0);
    }
}

#[test]
fn credentials_log_and_count() {
    let (_, telemetry) = telemetry();
    for (result, word, level) in [(Ok(()), "success", "INFO"), (Err("login refused"), "failure", "WARN")] {
        let changed = format!("credential_refresh_total{{result=\"{word}\"}}");
        check(&telemetry, CredentialRefresh { result }, level, &[&changed], &[result.err().unwrap_or("refreshed")]);
    }
}

#[test]
fn guards_count_down_when_they_go() {
    let (_, telemetry) = telemetry();
    let value = |name: &str| samples(&telemetry).into_iter().find(|(found, _)| found == name).unwrap().1;
    let guards = [telemetry.in_hand(), telemetry.in_hand(), telemetry.in_flight(), telemetry.unconfirmed()];
    assert_eq!((value("in_hand"), value("in_flight"), value("unconfirmed")), (2.0, 1.0, 1.0));
    drop(guards);
    assert_eq!((value("in_hand"), value("in_flight"), value("unconfirmed")), (0.0, 0.0, 0.0));
}

/// How long work has stood still, a second after a beat that came `wait` later than the last.
async fn stood_still(telemetry: &Telemetry, wait: Duration) -> Duration {
    advance(wait).await;
    telemetry.beat();
    advance(SECOND).await;
    telemetry.snapshot().since_moved
}

#[tokio::test(start_paused = true)]
async fn a_beat_excuses_only_work_that_others_hold_up() {
    let (gate, telemetry) = telemetry();
    assert_eq!(stood_still(&telemetry, 100 * SECOND).await, SECOND, "nothing is in hand");
    let _command = telemetry.in_hand();
    assert_eq!(stood_still(&telemetry, 100 * SECOND).await, SECOND, "the broker is not there");
    Role::ALL.into_iter().for_each(|role| telemetry.record(Connected { role }));
    let hold = gate.close(GateReason::Auth);
    assert_eq!(stood_still(&telemetry, 100 * SECOND).await, SECOND, "the gate is closed");
    drop(hold);
    assert_eq!(stood_still(&telemetry, 100 * SECOND).await, 102 * SECOND, "nobody but us holds it up");
    telemetry.record(CommandReceived { redelivered: false, waited: None });
    assert_eq!(telemetry.snapshot().since_moved, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_heartbeat_turns_with_the_event_loop() {
    let (_, telemetry) = telemetry();
    advance(60 * SECOND).await;
    assert_eq!(telemetry.snapshot().since_beat, 60 * SECOND);
    let beating = tokio::time::timeout(60 * SECOND + HEARTBEAT / 2, telemetry.clone().heartbeat());
    assert!(beating.await.is_err(), "it never ends");
    assert_eq!(telemetry.snapshot().since_beat, HEARTBEAT / 2);
}
