use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

use super::*;
use crate::{
    gate::{Gate, GateReason},
    telemetry::{
        Limits, Role,
        events::{CommandFinished, Connected, ConnectionLost, ConsumerStarted, GateClosed, TopologyMissing},
    },
};

const TOKEN: &str = "s3cret";

/// A server and what it tells about; stops when it is dropped.
struct Fixture {
    gate: Gate,
    telemetry: Telemetry,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: Serving,
}

fn start() -> Fixture {
    start_with(Some(TOKEN.into()))
}

fn start_with(token: Option<SecretString>) -> Fixture {
    let gate = Gate::default();
    let telemetry =
        Telemetry::new(gate.clone(), Limits { max_in_flight: 8, prefetch: 16 }, &crate::domain::tier::Tiers::default())
            .unwrap();
    let admin = Admin::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = admin.address();
    let (stop, stopped) = oneshot::channel();
    let serving = admin.serve(telemetry.clone(), token, async { drop(stopped.await) }).unwrap();
    Fixture { gate, telemetry, address, stop: Some(stop), serving }
}

impl Fixture {
    /// The whole answer, read until the server closes the connection.
    fn ask(&self, request_line: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "{request_line} HTTP/1.1\r\nhost: admin\r\n\r\n").unwrap();
        Self::read(stream)
    }

    /// POSTs with this `Authorization`, and tells the status.
    fn post(&self, path: &str, authorization: &str) -> u16 {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "POST {path} HTTP/1.1\r\nhost: admin\r\nauthorization: {authorization}\r\n\r\n").unwrap();
        Self::read(stream).split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn read(mut stream: TcpStream) -> String {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, path: &str) -> (u16, String) {
        let answer = self.ask(&format!("GET {path}"));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn consume(&self) {
        Role::ALL.into_iter().for_each(|role| self.telemetry.record(Connected { role }));
        self.telemetry.record(ConsumerStarted { queue: "edna.commands", prefetch: 80 });
    }
}

#[test]
fn metrics_come_in_the_format_that_prometheus_reads() {
    let server = start();
    let answer = server.ask("GET /metrics");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
    assert!(answer.contains("\ncourier_commands_received_total{redelivered=\"false\"} 0\n"), "{answer}");
}

#[test]
fn probes_answer_by_status_and_in_words() {
    let server = start();
    assert_eq!(server.get("/livez"), (200, "alive\n".to_owned()));
    assert_eq!(server.get("/readyz").0, 503);
    server.consume();
    assert_eq!(server.get("/readyz"), (200, "consuming\n".to_owned()));
    let _hold = server.gate.close(GateReason::Throttle);
    assert_eq!(server.get("/readyz"), (200, "paused: throttle\n".to_owned()));
    let _hold = server.gate.close(GateReason::Drain);
    let (status, told) = server.get("/readyz");
    assert!(status == 503 && told.starts_with("drain: "), "{status} {told}");
}

#[test]
fn who_has_the_token_pauses_and_resumes() {
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
    assert!(server.gate.state().is_open(), "paused twice, resumed once");
    assert!(server.ask("GET /pause").starts_with("HTTP/1.1 405 "), "a look changes nothing");
}

#[test]
fn without_a_token_nobody_pauses() {
    let server = start_with(None);
    assert_eq!(server.post("/pause", "Bearer "), 403);
    assert!(server.gate.state().is_open());
}

#[test]
fn status_is_json_with_every_part() {
    let server = start();
    let status = || serde_json::from_str::<Value>(&server.get("/status").1).unwrap();
    let link = json!({"connected_since": null, "last_problem": null});
    let mut fresh = status();
    assert!(fresh["uptime_seconds"].take().is_u64());
    assert_eq!(
        fresh,
        json!({
            "version": env!("CARGO_PKG_VERSION"), "uptime_seconds": null,
            "gate": {"open": true, "reasons": [], "problems": {}},
            "links": {"consume": link, "publish": link}, "consumer_active": false, "consumers": 0, "topology_problem": null,
            "limits": {"max_in_flight": 8, "prefetch": 16}, "in_hand": 0, "in_flight": 0, "last_success": null,
        })
    );

    server.consume();
    server.telemetry.record(ConnectionLost { role: Role::Publish, problem: "reset" });
    server.telemetry.record(TopologyMissing { problem: "no queue edna.dead" });
    server.telemetry.record(succeeded());
    let _holds = [server.gate.close(GateReason::Blocked), server.gate.close(GateReason::Throttle)];
    server.telemetry.record(GateClosed { reason: GateReason::Blocked, problem: "disk alarm" });
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
fn what_is_not_there_is_refused() {
    let server = start();
    assert_eq!(server.get("/").0, 404);
    assert_eq!(server.get("/metrics/more").0, 404);
    let answer = server.ask("POST /metrics");
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET,HEAD"), "{answer}");
}

#[test]
fn head_answers_like_get_without_the_body() {
    let server = start();
    for path in ["/metrics", "/livez", "/status"] {
        let answer = server.ask(&format!("HEAD {path}"));
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(answer.contains("content-length: ") && !answer.contains("content-length: 0"), "{answer}");
    }
}

#[test]
fn an_endless_body_is_not_read() {
    let server = start();
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "POST /status HTTP/1.1\r\nhost: admin\r\ncontent-length: 99999999999\r\n\r\nmore").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}

#[tokio::test]
async fn stops_when_told_though_a_peer_holds_its_connection() {
    let mut server = start();
    let mut held = TcpStream::connect(server.address).unwrap();
    held.write_all(b"GET /live").unwrap();
    // The answer to a later connection proves that the earlier one is accepted.
    assert_eq!(server.get("/livez").0, 200);
    drop(server.stop.take());
    tokio::time::timeout(Duration::from_secs(5), server.serving.ended()).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).is_err(), "the port is free again");
}

#[test]
fn a_taken_address_is_told_with_the_setting() {
    let taken = Admin::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let error = Admin::bind(taken.address()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    let told = error.to_string();
    assert!(told.contains(&taken.address().to_string()) && told.contains("admin.listen"), "{told}");
}
