//! The admin server over TCP.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

use super::*;
use crate::{
    domain::tier::Tiers,
    gate::{Gate, GateReason},
    telemetry::{
        Role, TelemetryLimits,
        events::{CommandFinished, Connected, ConnectionLost, ConsumerStarted, TopologyMissing},
    },
};

const TOKEN: &str = "s3cret";

/// A running server with its gate and telemetry; stops when dropped.
struct TestServer {
    gate: Gate,
    telemetry: Telemetry,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: AdminTask,
}

fn start() -> TestServer {
    start_with(Some(TOKEN.into()))
}

fn start_with(token: Option<SecretString>) -> TestServer {
    let telemetry = Telemetry::new(TelemetryLimits { max_in_flight: 8, prefetch: 16 }, &Tiers::default()).unwrap();
    let gate = Gate::observed_by(Arc::new(telemetry.clone()));
    let server = AdminServer::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = server.address();
    let (stop, stopped) = oneshot::channel();
    let task = server.serve(telemetry.clone(), gate.clone(), token, async { drop(stopped.await) }).unwrap();
    TestServer { gate, telemetry, address, stop: Some(stop), task }
}

impl TestServer {
    /// The response, read until the server closes the connection.
    fn request(&self, request_line: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "{request_line} HTTP/1.1\r\nhost: admin\r\n\r\n").unwrap();
        Self::read(stream)
    }

    /// Posts with this `Authorization`; returns the status.
    fn post(&self, path: &str, authorization: &str) -> u16 {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "POST {path} HTTP/1.1\r\nhost: admin\r\nauthorization: {authorization}\r\n\r\n").unwrap();
        Self::read(stream).split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn read(mut stream: TcpStream) -> String {
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    fn get(&self, path: &str) -> (u16, String) {
        let response = self.request(&format!("GET {path}"));
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn consume(&self) {
        Role::ALL.into_iter().for_each(|role| self.telemetry.record(Connected { role }));
        self.telemetry.record(ConsumerStarted { queue: "edna.commands", prefetch: 80 });
    }
}

#[test]
fn metrics_are_in_the_prometheus_text_format() {
    let server = start();
    let response = server.request("GET /metrics");
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{response}");
    assert!(response.contains("\ncourier_commands_received_total{redelivered=\"false\"} 0\n"), "{response}");
}

#[test]
fn probes_return_status_and_text() {
    let server = start();
    assert_eq!(server.get("/livez"), (200, "alive\n".to_owned()));
    assert_eq!(server.get("/readyz").0, 503);
    server.consume();
    assert_eq!(server.get("/readyz"), (200, "consuming\n".to_owned()));
    let _hold = server.gate.close(GateReason::Throttle, "429");
    assert_eq!(server.get("/readyz"), (200, "paused: throttle\n".to_owned()));
    let _hold = server.gate.close(GateReason::Drain, "SIGTERM");
    let (status, text) = server.get("/readyz");
    assert!(status == 503 && text.starts_with("drain: "), "{status} {text}");
}

#[test]
fn pause_and_resume_require_the_token() {
    let server = start();
    server.consume();
    for wrong in ["", "Bearer", "Bearer s3cre", "Bearer s3cret1", "Basic s3cret", "s3cret"] {
        assert_eq!((server.post("/pause", wrong), server.post("/resume", wrong)), (401, 401), "{wrong}");
    }
    assert!(server.gate.state().is_open());
    assert_eq!((server.post("/pause", "Bearer s3cret"), server.post("/pause", "Bearer s3cret")), (200, 200));
    assert_eq!(server.gate.state().reasons().collect::<Vec<_>>(), [GateReason::Operator]);
    assert_eq!(server.get("/readyz"), (200, "paused: operator\n".to_owned()));
    assert_eq!((server.post("/resume", "Bearer s3cret"), server.post("/resume", "Bearer s3cret")), (200, 200));
    assert!(server.gate.state().is_open(), "one resume ends two pauses");
    assert!(server.request("GET /pause").starts_with("HTTP/1.1 405 "), "GET is not allowed");
}

#[test]
fn pause_without_configured_token_is_forbidden() {
    let server = start_with(None);
    assert_eq!(server.post("/pause", "Bearer "), 403);
    assert!(server.gate.state().is_open());
}

#[test]
fn status_has_every_field() {
    let server = start();
    let status = || serde_json::from_str::<Value>(&server.get("/status").1).unwrap();
    let connection = json!({"connected_since": null, "last_problem": null});
    let mut fresh = status();
    assert!(fresh["uptime_seconds"].take().is_u64());
    assert_eq!(
        fresh,
        json!({
            "version": env!("CARGO_PKG_VERSION"), "uptime_seconds": null,
            "gate": {"open": true, "reasons": [], "problems": {}},
            "links": {"consume": connection, "publish": connection}, "consumer_active": false, "consumers": 0, "order_suspended": false, "isolation": null, "topology_problem": null,
            "journal_doubt": null,
            "stuck_tiers": [],
            "limits": {"max_in_flight": 8, "prefetch": 16}, "in_hand": 0, "in_flight": 0, "last_success": null,
        })
    );

    server.consume();
    server.telemetry.record(ConnectionLost { role: Role::Publish, problem: "reset" });
    server.telemetry.record(TopologyMissing { problem: "no queue edna.dead" });
    server.telemetry.record(succeeded());
    let _holds =
        [server.gate.close(GateReason::Blocked, "disk alarm"), server.gate.close_unreported(GateReason::Throttle)];
    let _commands = [server.telemetry.in_hand(), server.telemetry.in_hand()];
    let _attempt = server.telemetry.in_flight();
    let busy = status();
    let expected = json!({"open": false, "reasons": ["throttle", "blocked"], "problems": {"blocked": "disk alarm"}});
    assert_eq!(busy["gate"], expected);
    assert_eq!(busy["links"]["publish"]["connected_since"], Value::Null);
    assert_eq!(busy["links"]["publish"]["last_problem"]["problem"], "reset");
    assert_eq!(busy["topology_problem"], "no queue edna.dead");
    assert_eq!((&busy["in_hand"], &busy["in_flight"]), (&json!(2), &json!(1)));
    assert_eq!(busy["consumer_active"], true);
    let times = [&busy["links"]["consume"]["connected_since"], &busy["links"]["publish"]["last_problem"]["at"]];
    for time in times.into_iter().chain([&busy["last_success"]]) {
        assert!(time.as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{time}");
    }
}

fn succeeded() -> CommandFinished<'static> {
    CommandFinished {
        command_id: None,
        reason: None,
        detail: None,
        attempts: 1,
        age: Duration::ZERO,
        possible_duplicate: false,
    }
}

#[test]
fn unknown_path_and_method_are_refused() {
    let server = start();
    assert_eq!(server.get("/").0, 404);
    assert_eq!(server.get("/metrics/more").0, 404);
    let response = server.request("POST /metrics");
    assert!(response.starts_with("HTTP/1.1 405 ") && response.contains("allow: GET,HEAD"), "{response}");
}

#[test]
fn head_response_is_like_get_without_body() {
    let server = start();
    for path in ["/metrics", "/livez", "/status"] {
        let response = server.request(&format!("HEAD {path}"));
        assert!(response.starts_with("HTTP/1.1 200 ") && response.ends_with("\r\n\r\n"), "{response}");
        assert!(response.contains("content-length: ") && !response.contains("content-length: 0"), "{response}");
    }
}

#[test]
fn request_body_is_not_read() {
    let server = start();
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "POST /status HTTP/1.1\r\nhost: admin\r\ncontent-length: 99999999999\r\n\r\nmore").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 405 "), "{response}");
}

#[tokio::test]
async fn shutdown_does_not_wait_for_an_open_connection() {
    let mut server = start();
    let mut open = TcpStream::connect(server.address).unwrap();
    open.write_all(b"GET /live").unwrap();
    // The response on a later connection proves that the earlier one was accepted.
    assert_eq!(server.get("/livez").0, 200);
    drop(server.stop.take());
    tokio::time::timeout(Duration::from_secs(5), server.task.join()).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).is_err(), "the port is still open");
}

#[test]
fn bind_error_names_address_and_setting() {
    let taken = AdminServer::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let error = AdminServer::bind(taken.address()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    let text = error.to_string();
    assert!(text.contains(&taken.address().to_string()) && text.contains("admin.listen"), "{text}");
}
