//! Events with the metrics, the health state and the log lines that they change.

use std::{collections::BTreeSet, io::Read, os::unix::net::UnixStream};

use tokio::time::advance;

use super::{
    events::{
        AnswerUnread, AttemptMade, CommandFinished, CommandReceived, ConnectFailed, Connected, ConnectionLost,
        ConsumerStarted, ConsumerStopped, ConsumersCounted, CredentialRefresh, GateClosed, GateOpened, IsolationEnded,
        IsolationStarted, JournalDoubtEnded, JournalInDoubt, OrderSuspended, PublishConfirmed, PublishFailed,
        TopologyMissing, TopologyVerified,
    },
    logging::{LogStyle, subscriber},
    *,
};
use crate::{
    domain::{
        command::CommandId,
        event::UnreadReason,
        evidence::{Answer, Evidence, NoAnswer, NotSent},
        message::Target,
        reason::{Outcome, Reason},
        verdict::Verdict,
    },
    gate::{Gate, GateReason},
    ports::PublishError,
};

const SECOND: Duration = Duration::from_secs(1);

fn telemetry() -> Telemetry {
    Telemetry::new(TelemetryLimits { max_in_flight: 8, prefetch: 16 }, &Tiers::default()).unwrap()
}

/// The samples of this crate by name and labels; of a histogram only `_count`.
fn samples(telemetry: &Telemetry) -> Vec<(String, f64)> {
    let text = telemetry.scrape().unwrap();
    let samples = text.lines().filter(|line| line.starts_with("courier_"));
    samples
        .map(|line| line.rsplit_once(' ').unwrap())
        .filter(|(name, _)| !name.contains("_bucket{") && !name.contains("_sum"))
        .map(|(name, value)| (name.strip_prefix("courier_").unwrap().to_owned(), value.parse().unwrap()))
        .collect()
}

#[test]
fn new_telemetry_exports_every_label_value_at_zero() {
    let telemetry = telemetry();
    let golden: BTreeSet<_> = include_str!("tests/golden.txt").lines().map(str::to_owned).collect();
    let found: BTreeSet<_> = samples(&telemetry).into_iter().map(|(name, value)| format!("{name} {value}")).collect();
    let version = concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1");
    assert_eq!(found, golden.into_iter().chain([version.to_owned()]).collect());
}

#[test]
#[cfg(target_os = "linux")]
fn scrape_includes_process_metrics() {
    let text = telemetry().scrape().unwrap();
    for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"] {
        assert!(text.contains(&format!("\n{name} ")), "{name}");
    }
}

#[test]
fn instances_count_independently() {
    let (one, other) = (telemetry(), telemetry());
    one.record(CommandReceived { redelivered: false, waited: None });
    assert!(one.scrape().unwrap().contains("courier_commands_received_total{redelivered=\"false\"} 1"));
    assert!(other.scrape().unwrap().contains("courier_commands_received_total{redelivered=\"false\"} 0"));
}

/// The log lines of this call, as JSON.
fn logged(call: impl FnOnce()) -> String {
    let (mut lines, writer) = UnixStream::pair().unwrap();
    let json = subscriber("trace", LogStyle::Json, Arc::new(writer)).unwrap();
    tracing::subscriber::with_default(json, call);
    let mut text = String::new();
    lines.read_to_string(&mut text).unwrap();
    text
}

/// Records an event; checks the changed samples, the log level and parts of the log line.
#[track_caller]
fn check(telemetry: &Telemetry, event: impl TelemetryEvent, level: &str, changed: &[&str], parts: &[&str]) {
    let before = samples(telemetry);
    let line = logged(|| telemetry.record(event));
    assert_eq!(line.lines().count(), 1, "{line}");
    for part in parts.iter().chain([&format!("\"level\":\"{level}\"").as_str()]) {
        assert!(line.contains(part), "{part:?} is not in: {line}");
    }
    let after = samples(telemetry);
    let found = before.iter().zip(&after).filter(|(before, after)| before != after).map(|(_, after)| after.0.as_str());
    assert_eq!(found.collect::<Vec<_>>(), changed);
}

#[tokio::test(start_paused = true)]
async fn stuck_tier_is_logged_at_each_change() {
    let telemetry = telemetry();
    let sample = |name: &str| samples(&telemetry).into_iter().find(|(found, _)| found == name).unwrap().1;
    let stuck_in = |messages| {
        let lines = logged(|| telemetry.observe_queue(WatchedQueue::Tier(0), messages));
        (lines, sample("tier_stuck{tier=\"5s\"}"), sample("queue_messages{queue=\"retry.5s\"}"))
    };
    assert_eq!(stuck_in(3), (String::new(), 0.0, 3.0));
    tokio::time::advance(SECOND * 26).await;
    let (line, stuck, _) = stuck_in(3);
    assert!(line.contains("\"level\":\"ERROR\"") && line.contains("does not return its 3 messages"), "{line}");
    assert_eq!((stuck, stuck_in(3).0), (1.0, String::new()), "logged once");
    let (line, stuck, _) = stuck_in(0);
    assert!(line.contains("returns its messages again"), "{line}");
    assert_eq!(stuck, 0.0);
}

#[test]
fn command_events_log_and_count() {
    let telemetry = telemetry();
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
        let parts = [word, outcome, "without a readable id", "deviceAddress: missing"];
        check(&telemetry, dead, "WARN", &["command_age_seconds_count", &sample], &parts);
    }
}

#[test]
fn attempt_event_never_logs_the_response_body() {
    let telemetry = telemetry();
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
    for (verdict, evidence, class, part) in cases {
        let made = AttemptMade { command_id, verdict, evidence: &evidence, took: SECOND };
        let verdict_label = format!("{{verdict=\"{}\"}}", verdict.as_str());
        let changed = [
            format!("api_request_duration_seconds_count{verdict_label}"),
            format!("api_responses_total{{status_class=\"{class}\"}}"),
            format!("attempts_total{verdict_label}"),
        ];
        let level = if verdict == Verdict::Uncertain { "INFO" } else { "DEBUG" };
        let parts = [part, "\"command_id\":\"order-1\"", "\"took_ms\":1000"];
        check(&telemetry, made, level, &changed.each_ref().map(String::as_str), &parts);
    }
}

#[test]
fn unread_answer_is_a_warning_and_counted_by_its_reason() {
    let telemetry = telemetry();
    let command_id = &CommandId::new("order-1").unwrap();
    for (why, label, part) in [
        (UnreadReason::Empty, "empty", "has no body"),
        (UnreadReason::NotJson, "not_json", "is not JSON"),
        (UnreadReason::NoIds, "no_ids", "none of the documented fields"),
    ] {
        let changed = format!("answers_unread_total{{why=\"{label}\"}}");
        let parts = [part, "\"command_id\":\"order-1\"", &format!("\"why\":\"{label}\"")];
        check(&telemetry, AnswerUnread { command_id, why }, "WARN", &[&changed], &parts);
    }
}

#[test]
fn publish_events_log_and_count() {
    let telemetry = telemetry();
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
            let (destination, error_text) = (word, &error.to_string());
            check(
                &telemetry,
                PublishFailed { target, destination, error },
                level,
                &[&failed],
                &[destination, error_text],
            );
        }
    }
}

#[test]
fn connection_events_count_reconnects() {
    let telemetry = telemetry();
    let role = Role::Consume;
    let (up, returns) = ("connected{role=\"consume\"}", "reconnects_total{role=\"consume\"}");
    let failed = ConnectFailed { role, problem: "refused", retry_in: SECOND };
    check(&telemetry, failed, "WARN", &[], &["refused", "1000 ms"]);
    check(&telemetry, Connected { role }, "INFO", &[up], &["consume"]);
    check(&telemetry, ConsumerStarted { queue: "q", prefetch: 80 }, "INFO", &["consumer_active"], &["\"queue\":\"q\""]);
    let not_kept = "other daemons consume the command queue";
    let suspended = |is_suspended, has_device_interval| OrderSuspended { is_suspended, has_device_interval };
    check(&telemetry, suspended(true, false), "WARN", &[], &[not_kept]);
    check(&telemetry, suspended(true, true), "WARN", &[], &[not_kept, "limits.device_interval is not applied"]);
    check(&telemetry, suspended(false, true), "INFO", &[], &["no other daemon", "limits.device_interval is applied"]);
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
fn isolation_events_log_and_set_the_gauge() {
    let telemetry = telemetry();
    for reason in IsolationReason::ALL {
        let gauge = format!("isolation{{reason=\"{}\"}}", reason.as_str());
        let started = IsolationStarted { reason, queue: "q", sessions: 2 };
        check(&telemetry, started, "WARN", &[&gauge], &["one at a time", reason.explanation(), "\"sessions\":2"]);
        let over = IsolationEnded { queue: "q", dead: "d", sessions: 0, since: None, problem: "" };
        check(&telemetry, over, "INFO", &[&gauge], &["full speed again"]);
    }
    telemetry.record(IsolationStarted { reason: IsolationReason::SessionsEnded, queue: "q", sessions: 2 });
    let since = Some("2026-11-22T12:00:00Z".parse().unwrap());
    let ended = IsolationEnded { queue: "q", dead: "d", sessions: 21, since, problem: "parse error" };
    let fewer = IsolationEnded { sessions: 9, ..ended };
    check(&telemetry, fewer, "WARN", &["isolation{reason=\"sessions_ended\"}"], &["9 consume sessions", "parse error"]);
    telemetry.record(IsolationStarted { reason: IsolationReason::SessionsEnded, queue: "q", sessions: 2 });
    let parts = ["21 consume sessions", "2026-11-22T12:00:00.000Z", "parse error", "x-first-death-reason"];
    check(&telemetry, ended, "ERROR", &["isolation{reason=\"sessions_ended\"}"], &parts);
}

#[test]
fn gate_events_log_and_set_the_gauge() {
    let telemetry = telemetry();
    let gauge = |reason: GateReason| {
        let sample = format!("gate_closed{{reason=\"{reason}\"}}");
        samples(&telemetry).into_iter().find(|(name, _)| *name == sample).unwrap().1
    };
    let levels = ["ERROR", "WARN", "ERROR", "ERROR", "ERROR", "ERROR", "WARN", "INFO"];
    for (reason, level) in GateReason::ALL.into_iter().zip(levels) {
        let changed = format!("gate_closed{{reason=\"{reason}\"}}");
        let closed = GateClosed { reason, problem: "observed" };
        check(&telemetry, closed, level, &[&changed], &["observed", reason.as_str(), events::remedy(reason)]);
        assert_eq!(gauge(reason), 1.0);
        check(&telemetry, GateOpened { reason }, "INFO", &[&changed], &[reason.as_str()]);
    }
}

#[test]
fn gate_observer_shows_the_last_reported_problem() {
    let telemetry = telemetry();
    let reason = GateReason::Blocked;
    telemetry.closed(reason, None);
    assert_eq!(telemetry.snapshot().closed_by, [GateClosure { reason, problem: None }]);
    for problem in ["no confirm", "disk alarm"] {
        let lines = logged(|| [problem; 2].iter().for_each(|problem| telemetry.closed(reason, Some(problem))));
        assert_eq!((lines.lines().count(), lines.contains(problem)), (1, true), "{lines}");
        let problem = Some(problem.to_owned());
        assert_eq!(telemetry.snapshot().closed_by, [GateClosure { reason, problem }]);
    }
    telemetry.opened(reason);
    assert_eq!(telemetry.snapshot().closed_by, []);
}

#[test]
fn gate_hold_logs_its_close_and_its_end_if_reported() {
    let telemetry = telemetry();
    let gate = Gate::observed_by(Arc::new(telemetry.clone()));
    let lines = logged(|| drop(gate.close_unreported(GateReason::Blocked)));
    assert_eq!(lines, "", "the component logs an unreported hold itself");
    let lines = logged(|| {
        let hold = gate.close_unreported(GateReason::Blocked);
        hold.report("disk alarm");
        drop(hold);
    });
    let [closed, opened] = lines.lines().collect::<Vec<_>>()[..] else { panic!("two lines: {lines}") };
    assert!(closed.contains("the gate is closed (blocked): disk alarm"), "{closed}");
    assert!(opened.contains("the gate is no longer closed by blocked"), "{opened}");
}

#[test]
fn journal_doubt_is_logged_and_shown_until_it_ends() {
    let telemetry = telemetry();
    check(&telemetry, JournalInDoubt { reason: "emptied" }, "WARN", &["journal_in_doubt"], &["emptied", "duplicate"]);
    assert_eq!(telemetry.snapshot().journal_doubt.as_deref(), Some("emptied"));
    check(&telemetry, JournalDoubtEnded, "INFO", &["journal_in_doubt"], &["no longer in doubt"]);
    assert_eq!(telemetry.snapshot().journal_doubt, None);
}

#[test]
fn credential_events_log_and_count() {
    let telemetry = telemetry();
    for (result, word, level) in [(Ok(()), "success", "INFO"), (Err("login refused"), "failure", "WARN")] {
        let changed = format!("credential_refresh_total{{result=\"{word}\"}}");
        check(&telemetry, CredentialRefresh { result }, level, &[&changed], &[result.err().unwrap_or("refreshed")]);
    }
}

#[test]
fn gauge_guard_decrements_when_dropped() {
    let telemetry = telemetry();
    let value = |name: &str| samples(&telemetry).into_iter().find(|(found, _)| found == name).unwrap().1;
    let guards = [telemetry.in_hand(), telemetry.in_hand(), telemetry.in_flight(), telemetry.unconfirmed()];
    assert_eq!((value("in_hand"), value("in_flight"), value("unconfirmed")), (2.0, 1.0, 1.0));
    drop(guards);
    assert_eq!((value("in_hand"), value("in_flight"), value("unconfirmed")), (0.0, 0.0, 0.0));
}

/// The time since the last progress, one second after a heartbeat that came `wait` after the last one.
async fn since_progress(telemetry: &Telemetry, wait: Duration) -> Duration {
    advance(wait).await;
    telemetry.state.record_heartbeat();
    advance(SECOND).await;
    telemetry.snapshot().since_progress
}

#[tokio::test(start_paused = true)]
async fn heartbeat_is_progress_while_the_cause_is_external() {
    let telemetry = telemetry();
    assert_eq!(since_progress(&telemetry, 100 * SECOND).await, SECOND, "nothing is in hand");
    let _command = telemetry.in_hand();
    assert_eq!(since_progress(&telemetry, 100 * SECOND).await, SECOND, "the broker is not connected");
    Role::ALL.into_iter().for_each(|role| telemetry.record(Connected { role }));
    telemetry.closed(GateReason::Auth, Some("401"));
    assert_eq!(since_progress(&telemetry, 100 * SECOND).await, SECOND, "the gate is closed");
    telemetry.opened(GateReason::Auth);
    assert_eq!(since_progress(&telemetry, 100 * SECOND).await, 101 * SECOND, "no external cause");
    telemetry.record(CommandReceived { redelivered: false, waited: None });
    assert_eq!(telemetry.snapshot().since_progress, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn heartbeat_is_recorded_every_interval() {
    let telemetry = telemetry();
    advance(60 * SECOND).await;
    assert_eq!(telemetry.snapshot().since_heartbeat, 60 * SECOND);
    let heartbeat = tokio::time::timeout(60 * SECOND + HEARTBEAT_INTERVAL / 2, telemetry.clone().heartbeat());
    assert!(heartbeat.await.is_err(), "the heartbeat ended");
    assert_eq!(telemetry.snapshot().since_heartbeat, HEARTBEAT_INTERVAL / 2);
}
