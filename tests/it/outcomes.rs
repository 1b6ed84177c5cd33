//! Each way for a command to end: what the API got, the event, the dead letter, and nothing else.

use std::{net::Ipv4Addr, time::Duration};

use edna_courier::sandbox::{Options, Sandbox};
use jiff::Timestamp;
use lapin::BasicProperties;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::support::{
    SOON,
    api::{Api, GOOD},
    bench::{Bench, Played},
    daemon::field,
    eventually::eventually,
    message::Message,
    queues::Queues,
};

/// A command with a text that may tell the sandbox what to do, and these fields besides.
fn command(text: &str, more: Value) -> Value {
    let mut command = json!({
        "commandId": "order-1", "text": text, "channelType": "WHATSAPP", "deviceAddress": "89000000000",
        "metadata": { "tenant": "x" },
    });
    let Value::Object(more) = more else { panic!("the fields of a command") };
    command.as_object_mut().expect("an object").extend(more);
    command
}

/// The one event, without what differs from run to run; the API's answer told by whether there is one.
async fn event(queues: &Queues) -> Value {
    let mut event = queues.events(1).await.swap_remove(0);
    let fields = event.as_object_mut().expect("an object");
    for (changing, kind) in [("eventId", Value::is_string as fn(&Value) -> bool), ("occurredAt", Value::is_string)] {
        assert!(kind(&fields.remove(changing).expect(changing)), "{changing}");
    }
    let timing = fields.remove("timing").expect("timing");
    let ms = |name: &str| timing[name].as_u64().unwrap_or_else(|| panic!("{name} in {timing}"));
    assert!(ms("waitedMs") <= ms("totalMs") && ms("apiMs") <= ms("totalMs"), "{timing}");
    let answered = fields["response"].is_object();
    fields.insert("response".to_owned(), answered.into());
    event
}

fn succeeded(attempts: u32, possible_duplicate: bool) -> Value {
    json!({
        "commandId": "order-1", "outcome": "succeeded", "channelType": "WHATSAPP", "attempts": attempts,
        "possibleDuplicate": possible_duplicate, "repeated": false, "response": true, "failure": null,
        "metadata": { "tenant": "x" },
    })
}

/// `failure` is reason, HTTP status and detail.
fn ended(outcome: &str, attempts: u32, possible_duplicate: bool, failure: (&str, Option<u16>, &str)) -> Value {
    let (reason, http_status, detail) = failure;
    let mut event = succeeded(attempts, possible_duplicate);
    event["outcome"] = outcome.into();
    event["response"] = false.into();
    event["failure"] = json!({ "reason": reason, "httpStatus": http_status, "detail": detail });
    event
}

/// The dead letter is the command byte for byte, and its headers say what the event says.
fn check_letter(queues: &Queues, letter: &Message, command: &Value, event: &Value) {
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

/// Sends the command through a daemon with these settings and insists on its one event, its dead letter if it did not
/// succeed, and on how many requests arrived and how many of them the customer got.
async fn check(test: &str, settings: &[(&str, &str)], command: Value, posts: (u64, u64), expected: Value) {
    let bench = Bench::new(test, settings).await;
    bench.queues.send(&command).await;
    assert_eq!(event(&bench.queues).await, expected);
    if expected["outcome"] != "succeeded" {
        let letter = bench.queues.dead_letters(1).await.swap_remove(0);
        check_letter(&bench.queues, &letter, &command, &expected);
    }
    assert_eq!(bench.posts(), posts, "requests, and messages to the customer");
    bench.end().await;
}

#[tokio::test]
async fn delivered_at_the_first_attempt() {
    let api = Api::answering(|_| (200, GOOD.to_owned())).await;
    let url = api.url().to_owned();
    let bench = Bench::on(Queues::new("delivered").await, api, &url, &[("api.token", "Bearer secret")]).await;
    let properties = BasicProperties::default().with_correlation_id("basket-7".into());
    let body = command("Your order is ready", json!({ "commandId": "order-4711-ready" })).to_string();
    bench.queues.client().publish(&bench.queues.name("commands"), "send", body.as_bytes(), properties).await;

    let message = bench.queues.event_messages(1).await.swap_remove(0);
    check_request(&bench.api);
    assert_eq!(
        (message.exchange.as_str(), message.key.as_str()),
        (&*bench.queues.name("events"), "send.succeeded.WHATSAPP")
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
    // An id that other daemons and later versions give it, too.
    assert_eq!(event["eventId"], "31763877-3db9-5bc3-953d-3eb9ccab8902");
    assert_eq!(event["response"], serde_json::from_str::<Value>(GOOD).expect("JSON"));
    bench.end().await;
}

/// The request as the wire had it.
fn check_request(api: &Api) {
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
    for absent in ["cookie", "accept-encoding", "content-encoding", "transfer-encoding"] {
        assert!(request.header(absent).is_empty(), "{absent}");
    }
}

#[tokio::test]
async fn delivered_with_an_answer_that_nobody_can_read() {
    let bench = Bench::new("wrong-body", &[]).await;
    bench.queues.send(&command("[[wrongBody]]", json!({}))).await;
    let mut expected = succeeded(1, false);
    expected["response"] = false.into();
    assert_eq!(event(&bench.queues).await, expected);
    assert_eq!(bench.posts(), (1, 1));
    let warned = |line: &Value| line["level"] == "WARN" && field(line, "command_id") == Some(&json!("order-1"));
    let warnings = || bench.daemon.log().into_iter().filter(warned).count();
    eventually!(SOON, warnings() == 1, "one warning that names the command");
    bench.end().await;
}

#[tokio::test]
async fn delivered_at_the_second_attempt() {
    check("retried", &[], command("[[status=503,times=1]]", json!({})), (2, 1), succeeded(2, false)).await;
}

#[tokio::test]
async fn rejected_by_the_api() {
    let event = ended("failed", 1, false, ("rejected", Some(400), "the API answered HTTP 400"));
    check("rejected", &[], command("[[status=400]]", json!({})), (1, 0), event).await;
}

#[tokio::test]
async fn exhausted_when_no_attempt_is_left() {
    let detail = "2 attempts, the last: the API answered HTTP 503";
    let event = ended("failed", 2, false, ("exhausted", Some(503), detail));
    let settings = [("delivery.max_attempts", "2")];
    check("exhausted", &settings, command("[[status=503]]", json!({})), (2, 0), event).await;
}

#[tokio::test]
async fn expired_before_any_attempt() {
    let event = ended("expired", 0, false, ("expired", None, "the deadline passed before an attempt could start"));
    let command = command("Too late", json!({ "expiresAt": "2020-01-01T00:00:00Z" }));
    check("expired", &[], command, (0, 0), event).await;
}

#[tokio::test]
async fn expired_while_waiting_for_the_next_attempt() {
    let bench = Bench::new("expired-between", &[]).await;
    // The API asks for more time than the command has.
    let soon = (Timestamp::now() + Duration::from_secs(2)).to_string();
    let command = command("[[status=503,retryAfter=60]]", json!({ "expiresAt": soon }));
    bench.queues.send(&command).await;
    let expected = ended("expired", 0, false, ("expired", None, "the deadline passed before an attempt could start"));
    assert_eq!(event(&bench.queues).await, expected);
    let letter = bench.queues.dead_letters(1).await.swap_remove(0);
    check_letter(&bench.queues, &letter, &command, &expected);
    assert_eq!(bench.posts(), (1, 0));
    bench.gate_closed_by(&["throttle"]).await;
    bench.drained().await;
}

#[tokio::test]
async fn uncertain_and_sent_again_knowingly() {
    let command = command("[[status=500,times=1]]", json!({ "onUncertain": "resend" }));
    check("resend-status", &[], command, (2, 1), succeeded(2, true)).await;
}

#[tokio::test]
async fn uncertain_after_a_break_and_the_customer_gets_it_twice() {
    check("resend-cut", &[], command("[[cut,times=1]]", json!({})), (2, 2), succeeded(2, true)).await;
}

#[tokio::test]
async fn uncertain_and_parked() {
    let event = ended("uncertain", 1, true, ("uncertain", None, "the connection broke before the answer"));
    check("park-cut", &[], command("[[cut]]", json!({ "onUncertain": "park" })), (1, 1), event).await;
}

#[tokio::test]
async fn uncertain_and_parked_with_the_status_that_says_nothing() {
    let event = ended("uncertain", 1, true, ("uncertain", Some(500), "the API answered HTTP 500"));
    check("park-status", &[], command("[[status=500]]", json!({ "onUncertain": "park" })), (1, 0), event).await;
}

#[tokio::test]
async fn uncertain_when_the_answer_does_not_come_in_time() {
    let event = ended("uncertain", 1, true, ("uncertain", None, "no answer within api.timeout"));
    let settings = [("api.timeout", "300ms"), ("delivery.on_uncertain", "park")];
    check("park-timeout", &settings, command("[[hang]]", json!({})), (1, 1), event).await;
}

#[tokio::test]
async fn exhausted_when_nobody_listens_at_the_api_and_never_a_possible_duplicate() {
    // Bound and not listening: connecting is refused, and nobody else gets the port meanwhile.
    let nobody = TcpSocket::new_v4().expect("a socket");
    nobody.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let url = format!("http://{}", nobody.local_addr().expect("bound"));
    let bench = Bench::on(Queues::new("refused").await, nobody, &url, &[("delivery.max_attempts", "2")]).await;
    let command = command("Nobody is there", json!({ "onUncertain": "park" }));
    bench.queues.send(&command).await;
    let detail = "2 attempts, the last: not sent: no connection to the API";
    let expected = ended("failed", 2, false, ("exhausted", None, detail));
    assert_eq!(event(&bench.queues).await, expected);
    check_letter(&bench.queues, &bench.queues.dead_letters(1).await[0], &command, &expected);
    bench.end().await;
}

#[tokio::test]
async fn six_hundred_commands_a_hundred_at_once() {
    const COMMANDS: u16 = 600;
    let options = Options { latency: Duration::from_secs(1), ..Options::default() };
    let api = Played(Sandbox::start((Ipv4Addr::LOCALHOST, 0).into(), options).expect("a free port"));
    let url = api.url();
    let settings = [("limits.max_in_flight", "100"), ("limits.mode", "fixed")];
    let bench = Bench::on(Queues::new("many").await, api, &url, &settings).await;
    let ids: Vec<_> = (0..COMMANDS).map(|number| format!("order-{number:03}")).collect();
    for id in &ids {
        bench.queues.send(&command("Hello", json!({ "commandId": id, "deviceAddress": id }))).await;
    }
    let at_once = async || bench.daemon.metric("courier_in_flight", &[]).await;
    eventually!(SOON, at_once().await == 100.0, "a hundred at once, after a slow start");
    let events = bench.queues.events(COMMANDS).await;
    let mut told: Vec<_> = events.iter().map(|event| event["commandId"].as_str().expect("an id")).collect();
    told.sort_unstable();
    assert_eq!(told, ids, "each once");
    assert!(events.iter().all(|event| event["outcome"] == "succeeded" && event["attempts"] == 1));
    assert_eq!(bench.posts(), (COMMANDS.into(), COMMANDS.into()));
    bench.end().await;
}

#[tokio::test]
async fn an_installation_of_its_own_kind() {
    let api = Api::answering(|_| (200, GOOD.to_owned())).await;
    let url = format!("{}/edna/", api.url());
    let settings = [("api.channel_types", "WHATSAPP,MOBILE"), ("api.descriptor_field", "applicationDescriptor")];
    let bench = Bench::on(Queues::new("own-kind").await, api, &url, &settings).await;
    bench.queues.send(&command("Hello", json!({ "channelType": "SMS" }))).await;
    let refused = bench.queues.events(1).await.swap_remove(0);
    let detail = "`channelType` is not one of api.channel_types: WHATSAPP, MOBILE";
    assert_eq!(refused["failure"], json!({ "reason": "malformed", "httpStatus": null, "detail": detail }));
    assert_eq!(bench.queues.dead_letters(1).await[0].key, "malformed");

    bench.queues.send(&command("Hello", json!({ "channelType": "MOBILE" }))).await;
    assert_eq!(bench.queues.event_messages(1).await[0].key, "send.succeeded.MOBILE");
    let requests = bench.api.requests();
    assert_eq!(requests.len(), 1, "the allowed one alone");
    assert_eq!(requests[0].path, "/edna/api/v1/messages/outgoing-to-device");
    let device = json!({ "channelType": "MOBILE", "deviceAddress": "89000000000" });
    assert_eq!(requests[0].json(), json!({ "text": "Hello", "attachments": [], "applicationDescriptor": device }));
    bench.end().await;
}

#[tokio::test]
async fn a_default_deadline_counts_from_when_the_command_was_made() {
    let bench = Bench::new("default-ttl", &[("delivery.default_ttl", "1h")]).await;
    let commands = bench.queues.name("commands");
    let now = u64::try_from(Timestamp::now().as_second()).expect("after 1970");
    for (id, made_at) in [("old", now - 2 * 3_600), ("young", now - 60)] {
        let body = command("Hello", json!({ "commandId": id })).to_string();
        let properties = BasicProperties::default().with_timestamp(made_at);
        bench.queues.client().publish(&commands, "send", body.as_bytes(), properties).await;
    }
    // A deadline of the command's own is not shortened.
    let late = json!({ "commandId": "own", "expiresAt": "9999-01-01T00:00:00Z" });
    let properties = BasicProperties::default().with_timestamp(now - 2 * 3_600);
    let body = command("Hello", late).to_string();
    bench.queues.client().publish(&commands, "send", body.as_bytes(), properties).await;

    let mut told: Vec<_> =
        bench.queues.events(3).await.iter().map(|e| format!("{}: {}", e["commandId"], e["outcome"])).collect();
    told.sort_unstable();
    assert_eq!(told, [r#""old": "expired""#, r#""own": "succeeded""#, r#""young": "succeeded""#]);
    let letter = bench.queues.dead_letters(1).await.swap_remove(0);
    assert_eq!((letter.key.as_str(), &letter.json()["commandId"]), ("expired", &json!("old")));
    assert_eq!(bench.posts(), (2, 2));
    let expired = [("outcome", "expired"), ("reason", "expired")];
    let counted = async || bench.daemon.metric("courier_commands_finished_total", &expired).await;
    eventually!(SOON, counted().await, |count| *count == 1.0, "the count of the expired one");
    bench.end().await;
}
