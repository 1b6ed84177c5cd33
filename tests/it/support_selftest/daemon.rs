//! The daemon process of the tests, with a shell script in place of the daemon.

use axum::{
    Router,
    http::HeaderMap,
    routing::{get, post},
};
use tokio::net::TcpListener;

use crate::support::{
    TIMEOUT,
    daemon::{DaemonBuilder, log_field},
    eventually::eventually,
    queues::Queues,
};

/// A shell script with the daemon's interface: logs, signals, exit code.
const SCRIPT: &str = r#"
    trap 'echo "{\"message\": \"drained\"}" >&2; exit 70' TERM
    echo "not JSON" >&2
    echo "{\"level\": \"INFO\", \"fields\": {\"message\": \"ready\", \"admin_address\": \"$ADMIN\"}}" >&2
    echo "{\"prefix\": \"$EDNA_COURIER__BROKER__PREFIX\"}" >&2
    echo "{\"listen\": \"$EDNA_COURIER__ADMIN__LISTEN\", \"inherited\": \"$EDNA_COURIER_TEST_BROKER\"}" >&2
    mkfifo never; exec 3<>never; read -r line <&3
"#;

const METRICS: &str = "# HELP x\ncourier_commands_finished_total{outcome=\"succeeded\",reason=\"\"} 2\n\
    courier_commands_finished_total{outcome=\"failed\",reason=\"rejected\"} 1\n";

/// Starts an admin server with the routes that the support uses; returns its address.
async fn start_admin() -> String {
    let authorized =
        async |headers: HeaderMap| headers.get("authorization").map_or("-".into(), |v| v.as_bytes().to_vec());
    let routes = Router::new()
        .route("/metrics", get(METRICS))
        .route("/status", get(r#"{"gate": "open"}"#))
        .route("/pause", post(authorized));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

async fn script_builder() -> DaemonBuilder {
    DaemonBuilder::for_program("sh", &["-c", SCRIPT]).env("ADMIN", &start_admin().await)
}

#[tokio::test]
async fn daemon_admin_server_is_found_and_queried() {
    let builder = script_builder().await;
    let daemon = builder.start().await;
    assert_eq!(daemon.get("/metrics").await.0, 200);
    assert_eq!(daemon.get("/nowhere").await.0, 404);
    assert_eq!(daemon.post("/pause", Some("secret")).await, (200, "Bearer secret".to_owned()));
    assert_eq!(daemon.status().await["gate"], "open");
    assert_eq!(daemon.metric("courier_commands_finished_total", &[("outcome", "succeeded")]).await, 2.0);
    assert_eq!(daemon.metric("courier_commands_finished_total", &[]).await, 3.0);
    assert!((1..1 << 30).contains(&daemon.rss_bytes()));
}

#[tokio::test]
async fn daemon_sigterm_yields_exit_code_and_full_log() {
    let queues = Queues::new("daemon").await;
    let builder = script_builder().await.queues(&queues);
    let daemon = builder.start().await;
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(TIMEOUT).await, 70);
    let log = daemon.log();
    assert_eq!(log.len(), 4, "JSON lines only: {log:?}");
    assert_eq!(log_field(&log[1], "prefix").and_then(|v| v.as_str()), Some(queues.prefix()));
    assert_eq!(log_field(&log[2], "listen").and_then(|v| v.as_str()), Some("127.0.0.1:0"));
    assert_eq!(log_field(&log[2], "inherited").and_then(|v| v.as_str()), Some(""));
    assert_eq!(log_field(&log[3], "message").and_then(|v| v.as_str()), Some("drained"));
    assert!(daemon.log_text().starts_with("not JSON\n"));
}

#[tokio::test]
async fn daemon_kill_and_failed_start_are_observed() {
    let builder = script_builder().await;
    let daemon = builder.start().await;
    daemon.kill();
    assert_eq!(daemon.wait_exit(TIMEOUT).await, 128 + 9);
    let failed = DaemonBuilder::for_program("sh", &["-c", "echo 'api.token: missing' >&2; exit 78"]).spawn();
    assert_eq!(failed.wait_exit(TIMEOUT).await, 78);
    assert_eq!(failed.log_text(), "api.token: missing");
}

#[tokio::test]
async fn daemon_drop_kills_the_process() {
    let builder = script_builder().await;
    let daemon = builder.start().await;
    let process = format!("/proc/{}", daemon.pid());
    assert!(std::fs::exists(&process).expect("readable"));
    drop(daemon);
    eventually!(TIMEOUT, !std::fs::exists(&process).expect("readable"), "the process ends");
}

#[tokio::test]
async fn daemon_without_settings_exits_without_panic() {
    let code = DaemonBuilder::new().spawn().wait_exit(TIMEOUT).await;
    assert!(code < 101, "exit code {code}: a panic (101) or a signal (above 128)");
}
