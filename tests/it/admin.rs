//! The admin server: metrics, `/status`, listen errors.

use std::net::TcpListener;

use edna_courier::sandbox::Options;
use serde_json::{Value, json};

use crate::support::{
    TIMEOUT,
    eventually::eventually,
    fixture::{Fixture, command, start_ready},
    metrics::Metrics,
};

/// Series that exist at zero before the first command: name without prefix, labels.
const ZERO: &[(&str, &[(&str, &str)])] = &[
    ("commands_received_total", &[("redelivered", "false")]),
    ("commands_received_total", &[("redelivered", "true")]),
    ("commands_finished_total", &[("outcome", "succeeded"), ("reason", "none")]),
    ("commands_finished_total", &[("outcome", "failed"), ("reason", "malformed")]),
    ("commands_finished_total", &[("outcome", "failed"), ("reason", "rejected")]),
    ("commands_finished_total", &[("outcome", "failed"), ("reason", "exhausted")]),
    ("commands_finished_total", &[("outcome", "expired"), ("reason", "expired")]),
    ("commands_finished_total", &[("outcome", "uncertain"), ("reason", "uncertain")]),
    ("attempts_total", &[("verdict", "delivered")]),
    ("attempts_total", &[("verdict", "retry")]),
    ("attempts_total", &[("verdict", "throttled")]),
    ("attempts_total", &[("verdict", "unauthorized")]),
    ("attempts_total", &[("verdict", "rejected")]),
    ("attempts_total", &[("verdict", "uncertain")]),
    ("in_hand", &[]),
    ("in_flight", &[]),
    ("gate_closed", &[("reason", "auth")]),
    ("gate_closed", &[("reason", "throttle")]),
    ("gate_closed", &[("reason", "blocked")]),
    ("gate_closed", &[("reason", "drain")]),
    ("command_age_seconds_count", &[]),
    ("queue_wait_seconds_count", &[]),
    ("api_request_duration_seconds_count", &[("verdict", "delivered")]),
    ("api_responses_total", &[("status_class", "2xx")]),
    ("api_responses_total", &[("status_class", "none")]),
    ("answers_unread_total", &[("why", "empty")]),
    ("answers_unread_total", &[("why", "not_json")]),
    ("answers_unread_total", &[("why", "no_ids")]),
    ("publishes_total", &[("target", "event"), ("result", "confirmed")]),
    ("publishes_total", &[("target", "dead"), ("result", "returned")]),
    ("publishes_total", &[("target", "reply"), ("result", "refused")]),
    ("publish_confirm_seconds_count", &[("target", "event")]),
    ("unconfirmed", &[]),
    ("reconnects_total", &[("role", "consume")]),
    ("reconnects_total", &[("role", "publish")]),
    ("possible_duplicates_total", &[]),
    ("log_lines_dropped_total", &[]),
    ("last_success_timestamp_seconds", &[]),
    ("credential_refresh_total", &[("result", "success")]),
    ("credential_refresh_total", &[("result", "failure")]),
];

#[tokio::test]
async fn metrics_after_start_are_all_present_at_zero() {
    let fixture = Fixture::new("admin-zero").await;
    let daemon = start_ready(&fixture.builder().set("limits.max_in_flight", "7")).await;
    let (status, text) = daemon.get("/metrics").await;
    assert_eq!(status, 200);
    let metrics = Metrics::parse(&text);
    for (name, labels) in ZERO {
        assert_eq!(metrics.sum(&format!("courier_{name}"), labels), Some(0.0), "{name}{labels:?}");
    }
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(metrics.sum("courier_build_info", &version), Some(1.0));
    assert_eq!(metrics.sum("courier_concurrency_limit", &[]), Some(4.0), "the adaptive limit starts low");
    assert_eq!(metrics.sum("courier_connected", &[]), Some(2.0));
    assert_eq!(metrics.sum("courier_consumer_active", &[]), Some(1.0));
    let resident_bytes = metrics.sum("process_resident_memory_bytes", &[]);
    assert!(resident_bytes.is_some_and(|bytes| bytes > 0.0), "{resident_bytes:?}");
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn metrics_after_six_commands_match_the_work() {
    let fixture = Fixture::new("admin-numbers").await;
    let daemon = start_ready(&fixture.builder()).await;
    for (index, text) in (0..).zip(["one", "two", "three", "[[status=503,times=1]]", "[[status=400]]"]) {
        fixture.queues.send(&command(index, text)).await;
    }
    fixture.queues.send(&json!({"commandId": "c-5", "txet": "a typo"})).await;
    let finished = async || daemon.metric("courier_commands_finished_total", &[]).await;
    eventually!(TIMEOUT, finished().await == 6.0, "six finished commands");

    let (_, text) = daemon.get("/metrics").await;
    let metrics = Metrics::parse(&text);
    let is = |name: &str, labels: &[(&str, &str)], value: f64| {
        assert_eq!(metrics.sum(&format!("courier_{name}"), labels), Some(value), "{name}{labels:?}");
    };
    // The broker takes back what is on its way to a subscription that another one replaces, and delivers it again.
    is("commands_received_total", &[], 6.0);
    is("commands_finished_total", &[("outcome", "succeeded")], 4.0);
    is("commands_finished_total", &[("reason", "rejected")], 1.0);
    is("commands_finished_total", &[("reason", "malformed")], 1.0);
    is("attempts_total", &[], 6.0);
    is("attempts_total", &[("verdict", "retry")], 1.0);
    is("api_responses_total", &[("status_class", "2xx")], 4.0);
    is("api_responses_total", &[("status_class", "4xx")], 1.0);
    is("api_responses_total", &[("status_class", "5xx")], 1.0);
    is("api_request_duration_seconds_count", &[("verdict", "delivered")], 4.0);
    is("command_age_seconds_count", &[], 6.0);
    is("publishes_total", &[("target", "event"), ("result", "confirmed")], 6.0);
    is("publishes_total", &[("target", "dead"), ("result", "confirmed")], 2.0);
    is("publishes_total", &[], 8.0);
    is("in_hand", &[], 0.0);
    is("unconfirmed", &[], 0.0);
    let last_success_s = metrics.sum("courier_last_success_timestamp_seconds", &[]);
    assert!(last_success_s > Some(1.7e9), "{last_success_s:?}");
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn status_reports_gate_links_limits_and_work() {
    let fixture = Fixture::with("admin-status", Options { token: Some("t".into()), ..Options::default() }).await;
    let daemon = start_ready(&fixture.builder().set("limits.max_in_flight", "8")).await;
    let report = daemon.status().await;
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["gate"], json!({"open": true, "reasons": [], "problems": {}}));
    assert!(report["links"]["consume"]["connected_since"].is_string(), "{report}");
    assert!(report["links"]["publish"]["connected_since"].is_string(), "{report}");
    assert_eq!(report["limits"], json!({"max_in_flight": 8, "prefetch": 12}));
    assert_eq!((&report["consumer_active"], &report["topology_problem"]), (&json!(true), &Value::Null));
    assert_eq!((&report["in_hand"], &report["last_success"]), (&json!(0), &Value::Null));

    fixture.send(1, "hello [[delay=300ms]]").await;
    eventually!(TIMEOUT, daemon.status().await, |report| report["in_flight"] == 1, "an attempt in flight");
    eventually!(TIMEOUT, daemon.status().await, |report| report["last_success"].is_string(), "a last success");
    fixture.sandbox.set_token("another".into());
    fixture.queues.send(&command(1, "hello")).await;
    let problems = json!({"auth": "the API answered HTTP 401"});
    let closed = json!({"open": false, "reasons": ["auth"], "problems": problems});
    let report = eventually!(TIMEOUT, daemon.status().await, |report| report["gate"] == closed, "a closed gate");
    assert_eq!(report["in_hand"], 1);
}

#[tokio::test]
async fn listen_address_in_use_fails_with_advice() {
    let fixture = Fixture::new("admin-in-use").await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let daemon = fixture.builder().set("admin.listen", &address).spawn();
    assert_eq!(daemon.wait_exit(TIMEOUT).await, 1);
    let log = daemon.log_text();
    for part in ["the admin server cannot listen on", &address, "in use", "set admin.listen"] {
        assert!(log.contains(part), "{part} in {log}");
    }
}
