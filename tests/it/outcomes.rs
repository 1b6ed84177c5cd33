//! Each outcome of a command: the requests, the event, the dead letter, and nothing else.

use std::{net::Ipv4Addr, time::Duration};

use edna_courier::sandbox::{Options, Sandbox};
use jiff::Timestamp;
use lapin::{BasicProperties, ExchangeKind};
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::support::{
    TIMEOUT,
    api::{RecordingApi, SUCCESS_BODY},
    daemon::log_field,
    daemon_fixture::{DaemonFixture, SandboxApi},
    eventually::eventually,
    message::Message,
    queues::Queues,
};

/// A command with this text, which may hold a script for the sandbox, and extra fields.
fn command(text: &str, extra: Value) -> Value {
    let mut command = json!({
        "commandId": "order-1", "text": text, "channelType": "WHATSAPP", "deviceAddress": "89000000000",
        "metadata": { "tenant": "x" },
    });
    let Value::Object(extra) = extra else { panic!("extra fields must be an object") };
    command.as_object_mut().expect("an object").extend(extra);
    command
}

/// The only event, without the fields that vary, and with `response` replaced by whether it is an object.
async fn event(queues: &Queues) -> Value {
    let mut event = queues.events(1).await.swap_remove(0);
    let fields = event.as_object_mut().expect("an object");
    for varying in ["eventId", "occurredAt"] {
        assert!(fields.remove(varying).is_some_and(|value| value.is_string()), "{varying}");
    }
    let timing = fields.remove("timing").expect("timing");
    let ms = |name: &str| timing[name].as_u64().unwrap_or_else(|| panic!("{name} in {timing}"));
    assert!(ms("waitedMs") <= ms("totalMs") && ms("apiMs") <= ms("totalMs"), "{timing}");
    let has_response = fields["response"].is_object();
    fields.insert("response".to_owned(), has_response.into());
    event
}

fn succeeded(attempts: u32, possible_duplicate: bool) -> Value {
    json!({
        "commandId": "order-1", "outcome": "succeeded", "channelType": "WHATSAPP", "attempts": attempts,
        "possibleDuplicate": possible_duplicate, "repeated": false, "response": true, "failure": null,
        "metadata": { "tenant": "x" },
    })
}

/// The event of another outcome; `failure` is reason, HTTP status and detail.
fn unsuccessful(outcome: &str, attempts: u32, possible_duplicate: bool, failure: (&str, Option<u16>, &str)) -> Value {
    let (reason, http_status, detail) = failure;
    let mut event = succeeded(attempts, possible_duplicate);
    event["outcome"] = outcome.into();
    event["response"] = false.into();
    event["failure"] = json!({ "reason": reason, "httpStatus": http_status, "detail": detail });
    event
}

/// Asserts that the dead letter is the command byte for byte, with headers that match the event.
fn check_dead_letter(queues: &Queues, letter: &Message, command: &Value, event: &Value) {
    let failure = &event["failure"];
    assert_eq!(letter.body, command.to_string().as_bytes());
    assert_eq!(
        (letter.exchange.as_str(), letter.key.as_str()),
        (&*queues.name("dead"), failure["reason"].as_str().expect("a reason"))
    );
    assert_eq!(*letter.properties.delivery_mode(), Some(2), "persistent");
    let mut headers = letter.headers.clone();
    let first_seen = headers.remove("courier-first-seen").and_then(|ms| ms.as_i64()).expect("a time");
    let age_ms = Timestamp::now().as_millisecond() - first_seen;
    assert!((0..60_000).contains(&age_ms), "first seen {age_ms} ms ago");
    let mut expected = json!({
        "courier-attempt": event["attempts"], "courier-detail": failure["detail"], "courier-reason": failure["reason"],
        "courier-replay": 0, "courier-source": format!("{}/send", queues.name("commands")),
        "courier-version": env!("CARGO_PKG_VERSION"),
    });
    if !failure["httpStatus"].is_null() {
        expected["courier-http-status"] = failure["httpStatus"].clone();
    }
    assert_eq!(json!(headers), expected);
}

/// Sends the command through a daemon with these settings; asserts its only event, its dead letter unless it succeeded, and
/// the numbers of received and accepted requests.
async fn check(test: &str, settings: &[(&str, &str)], command: Value, posts: (u64, u64), expected: Value) {
    let fixture = DaemonFixture::new(test, settings).await;
    fixture.queues.send(&command).await;
    assert_eq!(event(&fixture.queues).await, expected);
    if expected["outcome"] != "succeeded" {
        let letter = fixture.queues.dead_letters(1).await.swap_remove(0);
        check_dead_letter(&fixture.queues, &letter, &command, &expected);
    }
    assert_eq!(fixture.posts(), posts, "received and accepted requests");
    fixture.finish().await;
}

#[tokio::test]
async fn first_attempt_delivered_publishes_succeeded_event() {
    let api = RecordingApi::start(|_| (200, SUCCESS_BODY.to_owned())).await;
    let url = api.url().to_owned();
    let fixture = DaemonFixture::on(Queues::new("delivered").await, api, &url, &[("api.token", "Bearer secret")]).await;
    let properties = BasicProperties::default().with_correlation_id("basket-7".into());
    let body = command("Your order is ready", json!({ "commandId": "order-4711-ready" })).to_string();
    fixture.queues.client().publish(&fixture.queues.name("commands"), "send", body.as_bytes(), properties).await;

    let message = fixture.queues.event_messages(1).await.swap_remove(0);
    check_request(&fixture.api);
    assert_eq!(
        (message.exchange.as_str(), message.key.as_str()),
        (&*fixture.queues.name("events"), "send.succeeded.WHATSAPP")
    );
    let event = message.json();
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(ToString::to_string);
    let properties = &message.properties;
    assert_eq!(*properties.delivery_mode(), Some(2), "persistent");
    assert_eq!(text(properties.message_id()).as_deref(), event["eventId"].as_str());
    assert_eq!(text(properties.correlation_id()).as_deref(), Some("basket-7"));
    assert_eq!(text(properties.content_type()).as_deref(), Some("application/json"));
    assert_eq!(text(properties.kind()).as_deref(), Some("send.succeeded"));
    assert_eq!(text(properties.app_id()).as_deref(), Some("edna-courier"));
    let occurred_at: Timestamp = event["occurredAt"].as_str().and_then(|time| time.parse().ok()).expect("a time");
    assert_eq!(properties.timestamp().map(u64::cast_signed), Some(occurred_at.as_second()));
    let expected = json!({ "courier-replay": 0, "courier-version": env!("CARGO_PKG_VERSION") });
    assert_eq!(json!(message.headers), expected);
    // The event id is stable across daemons and versions.
    assert_eq!(event["eventId"], "31763877-3db9-5bc3-953d-3eb9ccab8902");
    assert_eq!(event["response"], serde_json::from_str::<Value>(SUCCESS_BODY).expect("JSON"));
    fixture.finish().await;
}

/// Asserts method, path, headers and body of the request.
fn check_request(api: &RecordingApi) {
    let requests = api.requests();
    assert_eq!(requests.len(), 1);
    let request = &requests[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/api/v1/messages/outgoing-to-device"));
    assert_eq!(
        request.json(),
        json!({
            "text": "Your order is ready", "attachments": [],
            "clientApplicationDescriptor": { "channelType": "WHATSAPP", "deviceAddress": "89000000000" },
        })
    );
    assert_eq!(request.header("authorization"), ["Bearer secret"]);
    assert_eq!(request.header("content-type"), ["application/json"]);
    assert_eq!(request.header("content-length"), [request.body.len().to_string()]);
    for name in ["cookie", "accept-encoding", "content-encoding", "transfer-encoding"] {
        assert!(request.header(name).is_empty(), "{name}");
    }
}

#[tokio::test]
async fn unreadable_2xx_body_is_delivered_with_a_warning() {
    let fixture = DaemonFixture::new("wrong-body", &[]).await;
    fixture.queues.send(&command("[[wrongBody]]", json!({}))).await;
    let mut expected = succeeded(1, false);
    expected["response"] = false.into();
    assert_eq!(event(&fixture.queues).await, expected);
    assert_eq!(fixture.posts(), (1, 1));
    let warned = |line: &Value| line["level"] == "WARN" && log_field(line, "command_id") == Some(&json!("order-1"));
    let warnings = || fixture.daemon.log().into_iter().filter(warned).count();
    eventually!(TIMEOUT, warnings() == 1, "one warning with the command id");
    fixture.finish().await;
}

#[tokio::test]
async fn status_503_once_is_delivered_at_second_attempt() {
    check("retried", &[], command("[[status=503,times=1]]", json!({})), (2, 1), succeeded(2, false)).await;
}

#[tokio::test]
async fn status_400_is_rejected() {
    let event = unsuccessful("failed", 1, false, ("rejected", Some(400), "the API answered HTTP 400"));
    check("rejected", &[], command("[[status=400]]", json!({})), (1, 0), event).await;
}

#[tokio::test]
async fn max_attempts_reached_is_exhausted() {
    let detail = "2 attempts, the last: the API answered HTTP 503";
    let event = unsuccessful("failed", 2, false, ("exhausted", Some(503), detail));
    let settings = [("delivery.max_attempts", "2")];
    check("exhausted", &settings, command("[[status=503]]", json!({})), (2, 0), event).await;
}

#[tokio::test]
async fn deadline_in_the_past_expires_without_attempt() {
    let event =
        unsuccessful("expired", 0, false, ("expired", None, "the deadline passed before an attempt could start"));
    let command = command("Too late", json!({ "expiresAt": "2020-01-01T00:00:00Z" }));
    check("expired", &[], command, (0, 0), event).await;
}

#[tokio::test]
async fn deadline_during_retry_after_expires() {
    let fixture = DaemonFixture::new("expired-between", &[]).await;
    // Retry-After exceeds the command's deadline.
    let deadline = (Timestamp::now() + Duration::from_secs(2)).to_string();
    let command = command("[[status=503,retryAfter=60]]", json!({ "expiresAt": deadline }));
    fixture.queues.send(&command).await;
    let expected =
        unsuccessful("expired", 0, false, ("expired", None, "the deadline passed before an attempt could start"));
    assert_eq!(event(&fixture.queues).await, expected);
    let letter = fixture.queues.dead_letters(1).await.swap_remove(0);
    check_dead_letter(&fixture.queues, &letter, &command, &expected);
    assert_eq!(fixture.posts(), (1, 0));
    fixture.wait_gate_closed(&["throttle"]).await;
    fixture.drain().await;
}

#[tokio::test]
async fn uncertain_status_with_resend_is_possible_duplicate() {
    let command = command("[[status=500,times=1]]", json!({ "onUncertain": "resend" }));
    check("resend-status", &[], command, (2, 1), succeeded(2, true)).await;
}

#[tokio::test]
async fn connection_cut_with_resend_delivers_twice() {
    check("resend-cut", &[], command("[[cut,times=1]]", json!({})), (2, 2), succeeded(2, true)).await;
}

#[tokio::test]
async fn connection_cut_with_park_is_uncertain() {
    let event = unsuccessful("uncertain", 1, true, ("uncertain", None, "the connection broke before the answer"));
    check("park-cut", &[], command("[[cut]]", json!({ "onUncertain": "park" })), (1, 1), event).await;
}

#[tokio::test]
async fn status_500_with_park_is_uncertain() {
    let event = unsuccessful("uncertain", 1, true, ("uncertain", Some(500), "the API answered HTTP 500"));
    check("park-status", &[], command("[[status=500]]", json!({ "onUncertain": "park" })), (1, 0), event).await;
}

#[tokio::test]
async fn timeout_with_park_is_uncertain() {
    let event = unsuccessful("uncertain", 1, true, ("uncertain", None, "no answer within api.timeout"));
    let settings = [("api.timeout", "300ms"), ("delivery.on_uncertain", "park")];
    check("park-timeout", &settings, command("[[hang]]", json!({})), (1, 1), event).await;
}

#[tokio::test]
async fn connection_refused_is_exhausted_not_uncertain() {
    // Bound without listening: connections are refused, and the port stays reserved.
    let unused = TcpSocket::new_v4().expect("a socket");
    unused.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let url = format!("http://{}", unused.local_addr().expect("bound"));
    let fixture =
        DaemonFixture::on(Queues::new("refused").await, unused, &url, &[("delivery.max_attempts", "2")]).await;
    let command = command("Hello", json!({ "onUncertain": "park" }));
    fixture.queues.send(&command).await;
    let detail = "2 attempts, the last: not sent: no connection to the API";
    let expected = unsuccessful("failed", 2, false, ("exhausted", None, detail));
    assert_eq!(event(&fixture.queues).await, expected);
    check_dead_letter(&fixture.queues, &fixture.queues.dead_letters(1).await[0], &command, &expected);
    fixture.finish().await;
}

#[tokio::test]
async fn six_hundred_commands_run_a_hundred_at_once() {
    const COMMANDS: u16 = 600;
    let options = Options { latency: Duration::from_secs(1), ..Options::default() };
    let api = SandboxApi(Sandbox::start((Ipv4Addr::LOCALHOST, 0).into(), options).expect("a free port"));
    let url = api.url();
    let settings = [("limits.max_in_flight", "100"), ("limits.mode", "fixed")];
    let queues = Queues::new("many").await;
    queues.declare("commands", ExchangeKind::Direct, "send").await;
    let ids: Vec<_> = (0..COMMANDS).map(|number| format!("order-{number:03}")).collect();
    for id in &ids {
        queues.send(&command("Hello", json!({ "commandId": id, "deviceAddress": id }))).await;
    }
    let fixture = DaemonFixture::on(queues, api, &url, &settings).await;
    let in_flight = async || fixture.daemon.metric("courier_in_flight", &[]).await;
    eventually!(TIMEOUT, in_flight().await == 100.0, "a hundred attempts in flight");
    let events = fixture.queues.events(COMMANDS).await;
    let mut finished: Vec<_> = events.iter().map(|event| event["commandId"].as_str().expect("an id")).collect();
    finished.sort_unstable();
    assert_eq!(finished, ids, "one event for each command");
    assert!(events.iter().all(|event| event["outcome"] == "succeeded" && event["attempts"] == 1));
    assert_eq!(fixture.posts(), (COMMANDS.into(), COMMANDS.into()));
    fixture.finish().await;
}

#[tokio::test]
async fn custom_base_path_channels_and_descriptor_are_used() {
    let api = RecordingApi::start(|_| (200, SUCCESS_BODY.to_owned())).await;
    let url = format!("{}/edna/", api.url());
    let settings = [("api.channel_types", "WHATSAPP,MOBILE"), ("api.descriptor_field", "applicationDescriptor")];
    let fixture = DaemonFixture::on(Queues::new("own-kind").await, api, &url, &settings).await;
    fixture.queues.send(&command("Hello", json!({ "channelType": "SMS" }))).await;
    let rejected = fixture.queues.events(1).await.swap_remove(0);
    let detail = "`channelType` is not one of api.channel_types: WHATSAPP, MOBILE";
    assert_eq!(rejected["failure"], json!({ "reason": "malformed", "httpStatus": null, "detail": detail }));
    assert_eq!(fixture.queues.dead_letters(1).await[0].key, "malformed");

    fixture.queues.send(&command("Hello", json!({ "channelType": "MOBILE" }))).await;
    assert_eq!(fixture.queues.event_messages(1).await[0].key, "send.succeeded.MOBILE");
    let requests = fixture.api.requests();
    assert_eq!(requests.len(), 1, "a POST for the allowed channel only");
    assert_eq!(requests[0].path, "/edna/api/v1/messages/outgoing-to-device");
    let device = json!({ "channelType": "MOBILE", "deviceAddress": "89000000000" });
    assert_eq!(requests[0].json(), json!({ "text": "Hello", "attachments": [], "applicationDescriptor": device }));
    fixture.finish().await;
}

#[tokio::test]
async fn default_ttl_counts_from_the_message_timestamp() {
    let fixture = DaemonFixture::new("default-ttl", &[("delivery.default_ttl", "1h")]).await;
    let commands = fixture.queues.name("commands");
    let now = u64::try_from(Timestamp::now().as_second()).expect("after 1970");
    for (id, created_at) in [("old", now - 2 * 3_600), ("young", now - 60)] {
        let body = command("Hello", json!({ "commandId": id })).to_string();
        let properties = BasicProperties::default().with_timestamp(created_at);
        fixture.queues.client().publish(&commands, "send", body.as_bytes(), properties).await;
    }
    // `expiresAt` takes precedence over the default.
    let explicit = json!({ "commandId": "own", "expiresAt": "9999-01-01T00:00:00Z" });
    let properties = BasicProperties::default().with_timestamp(now - 2 * 3_600);
    let body = command("Hello", explicit).to_string();
    fixture.queues.client().publish(&commands, "send", body.as_bytes(), properties).await;

    let mut finished: Vec<_> =
        fixture.queues.events(3).await.iter().map(|e| format!("{}: {}", e["commandId"], e["outcome"])).collect();
    finished.sort_unstable();
    assert_eq!(finished, [r#""old": "expired""#, r#""own": "succeeded""#, r#""young": "succeeded""#]);
    let letter = fixture.queues.dead_letters(1).await.swap_remove(0);
    assert_eq!((letter.key.as_str(), &letter.json()["commandId"]), ("expired", &json!("old")));
    assert_eq!(fixture.posts(), (2, 2));
    let expired = [("outcome", "expired"), ("reason", "expired")];
    let counted = async || fixture.daemon.metric("courier_commands_finished_total", &expired).await;
    eventually!(TIMEOUT, counted().await, |count| *count == 1.0, "one expired command");
    fixture.finish().await;
}
