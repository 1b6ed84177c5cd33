use axum::{
    Router,
    http::HeaderMap,
    routing::{get, post},
};
use tokio::net::TcpListener;

use crate::support::{
    SOON,
    daemon::{Setup, field},
    eventually::eventually,
    queues::Queues,
};

/// Behaves like the daemon as far as this shell can: logs, waits for signals, has an exit code.
const STAND_IN: &str = r#"
    trap 'echo "{\"message\": \"drained\"}" >&2; exit 70' TERM
    echo "not JSON" >&2
    echo "{\"level\": \"INFO\", \"fields\": {\"message\": \"ready\", \"admin_address\": \"$ADMIN\"}}" >&2
    echo "{\"prefix\": \"$EDNA_COURIER__BROKER__PREFIX\"}" >&2
    echo "{\"listen\": \"$EDNA_COURIER__ADMIN__LISTEN\", \"inherited\": \"$EDNA_COURIER_TEST_BROKER\"}" >&2
    mkfifo never; exec 3<>never; read -r line <&3
"#;

const METRICS: &str = "# HELP x\ncourier_commands_finished_total{outcome=\"succeeded\",reason=\"\"} 2\n\
    courier_commands_finished_total{outcome=\"failed\",reason=\"rejected\"} 1\n";

/// An admin server as far as the support asks one.
async fn admin() -> String {
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

async fn stand_in() -> Setup {
    Setup::of("sh", &["-c", STAND_IN]).env("ADMIN", &admin().await)
}

#[tokio::test]
async fn the_admin_server_is_found_and_asked() {
    let setup = stand_in().await;
    let daemon = setup.start().await;
    assert_eq!(daemon.get("/metrics").await.0, 200);
    assert_eq!(daemon.get("/nowhere").await.0, 404);
    assert_eq!(daemon.post("/pause", Some("secret")).await, (200, "Bearer secret".to_owned()));
    assert_eq!(daemon.report().await["gate"], "open");
    assert_eq!(daemon.metric("courier_commands_finished_total", &[("outcome", "succeeded")]).await, 2.0);
    assert_eq!(daemon.metric("courier_commands_finished_total", &[]).await, 3.0);
    assert!((1..1 << 30).contains(&daemon.rss_bytes()));
}

#[tokio::test]
async fn a_signal_an_exit_code_and_the_whole_log() {
    let queues = Queues::new("daemon").await;
    let setup = stand_in().await.on(&queues);
    let daemon = setup.start().await;
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(SOON).await, 70);
    let log = daemon.log();
    assert_eq!(log.len(), 4, "the lines that are JSON: {log:?}");
    assert_eq!(field(&log[1], "prefix").and_then(|v| v.as_str()), Some(queues.prefix()));
    assert_eq!(field(&log[2], "listen").and_then(|v| v.as_str()), Some("127.0.0.1:0"));
    assert_eq!(field(&log[2], "inherited").and_then(|v| v.as_str()), Some(""));
    assert_eq!(field(&log[3], "message").and_then(|v| v.as_str()), Some("drained"));
    assert!(daemon.log_text().starts_with("not JSON\n"));
}

#[tokio::test]
async fn a_killed_one_and_a_failed_start_are_seen() {
    let setup = stand_in().await;
    let daemon = setup.start().await;
    daemon.kill();
    assert_eq!(daemon.wait_exit(SOON).await, 128 + 9);
    let refused = Setup::of("sh", &["-c", "echo 'api.token: missing' >&2; exit 78"]).spawn();
    assert_eq!(refused.wait_exit(SOON).await, 78);
    assert_eq!(refused.log_text(), "api.token: missing");
}

#[tokio::test]
async fn a_dropped_one_is_gone() {
    let setup = stand_in().await;
    let daemon = setup.start().await;
    let process = format!("/proc/{}", daemon.pid());
    assert!(std::fs::exists(&process).expect("readable"));
    drop(daemon);
    eventually!(SOON, !std::fs::exists(&process).expect("readable"), "the end of the process");
}

#[tokio::test]
async fn the_real_binary_runs_and_without_settings_ends_in_order() {
    let code = Setup::new().spawn().wait_exit(SOON).await;
    assert!(code < 101, "neither a panic (101) nor a signal (above 128): {code}");
}
