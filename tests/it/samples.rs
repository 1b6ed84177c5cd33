//! The cases of `tests/data/` through the daemon, event formats, and replies.

use lapin::BasicProperties;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::support::{
    TIMEOUT,
    api::{RecordingApi, SUCCESS_BODY},
    daemon_fixture::DaemonFixture,
    eventually::eventually,
    message::{self, Message},
    queues::Queues,
    samples::{self, Case},
};

/// Starts a daemon with an API that accepts every request.
async fn start_daemon(test: &str, settings: &[(&str, &str)]) -> DaemonFixture<RecordingApi> {
    start_daemon_with(test, settings, |_| (200, SUCCESS_BODY.to_owned())).await
}

/// Starts a daemon with an API that responds to the nth request with `answer(n)`.
async fn start_daemon_with(
    test: &str,
    settings: &[(&str, &str)],
    answer: impl Fn(usize) -> (u16, String) + Send + Sync + 'static,
) -> DaemonFixture<RecordingApi> {
    let api = RecordingApi::start(answer).await;
    let url = api.url().to_owned();
    DaemonFixture::on(Queues::new(test).await, api, &url, settings).await
}

fn order() -> Value {
    json!({ "commandId": "order-1", "text": "Hello", "channelType": "WHATSAPP", "deviceAddress": "89000000000" })
}

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Asserts for each matching case that the API receives the request of the file, and that the event has its id and metadata.
async fn check_commands(test: &str, settings: &[(&str, &str)], filter: impl Fn(&Case) -> bool) {
    let fixture = start_daemon(test, settings).await;
    let cases: Vec<_> = samples::commands().into_iter().filter(filter).collect();
    assert!(!cases.is_empty());
    // One at a time, as several cases have the same request.
    for (number, case) in cases.iter().enumerate() {
        let name = &case.name;
        case.send(&fixture.queues, "default").await;
        let event = fixture.queues.event_messages(1).await.swap_remove(0);
        let requests = fixture.api.requests();
        assert_eq!(requests.len(), number + 1, "{name}");
        assert_eq!(requests[number].json(), *case.request.as_ref().expect("a request"), "{name}");
        check_event(case, &event);
    }
    fixture.finish().await;
}

fn check_event(case: &Case, message: &Message) {
    let name = &case.name;
    let event = message.json();
    let channel = case.request.as_ref().map(|request| &request["clientApplicationDescriptor"]["channelType"]);
    let summary = json!([event["outcome"], event["channelType"], event["attempts"], event["failure"]]);
    assert_eq!(summary, json!(["succeeded", channel, 1, null]), "{name}");
    match case.id.as_deref().expect("an id") {
        // Stands for a random id.
        "generated" => assert!(event["commandId"].as_str().is_some_and(|id| id.len() == 36), "{name}"),
        id => assert_eq!(event["commandId"], id, "{name}"),
    }
    let body = std::str::from_utf8(&message.body).expect("UTF-8");
    let metadata = format!(r#""metadata":{}}}"#, case.metadata.as_deref().unwrap_or("null"));
    assert!(body.ends_with(&metadata), "{name}: {metadata} at the end of {body}");
    let correlation_id = message.properties.correlation_id().as_ref();
    let expected = case.properties("default");
    assert_eq!(correlation_id, expected.correlation_id().as_ref(), "{name}");
    let sent = expected.headers().as_ref().is_some_and(|headers| headers.contains_key("traceparent"));
    assert_eq!(message.headers.contains_key("traceparent"), sent, "{name}");
}

#[tokio::test]
async fn sample_commands_become_the_sample_requests() {
    check_commands("samples", &[], |case| case.limits.is_empty()).await;
}

#[tokio::test]
async fn sample_commands_allowed_by_settings_are_posted() {
    let settings =
        [("delivery.missing_id", "generate"), ("delivery.unknown_fields", "ignore"), ("delivery.max_text", "5")];
    check_commands("samples-limits", &settings, |case| {
        ["missing_id", "unknown_fields", "max_text"].iter().any(|limit| case.limits.contains_key(*limit))
    })
    .await;
    let allowed = |case: &Case| case.limits.contains_key("channel_types");
    check_commands("samples-channels", &[("api.channel_types", "WHATSAPP,web-chat_2")], allowed).await;
}

/// The fields of a case of `events.json` that apply to a whole daemon.
#[derive(Deserialize)]
struct EventCase {
    command: Case,
    answer: Option<String>,
    replay: u32,
    attempts: u32,
    /// Failures are covered by unit tests: their detail depends on the daemon.
    failure: Option<Value>,
    event: Option<Box<RawValue>>,
}

/// The event's text without `occurredAt` and `timing`.
fn fixed_parts(event: &str) -> (String, String) {
    let (before, rest) = event.split_once(r#""occurredAt":""#).expect("occurredAt");
    let (_, rest) = rest.split_once('"').expect("the end of a time");
    let (middle, rest) = rest.split_once(r#""timing":{"waitedMs":"#).expect("timing");
    let (_, after) = rest.split_once('}').expect("the end of an object");
    (format!("{before}{middle}"), after.to_owned())
}

#[tokio::test]
async fn sample_events_match_byte_for_byte() {
    let cases: Vec<EventCase> = samples::events();
    let cases: Vec<_> = cases.into_iter().filter(|case| case.failure.is_none()).collect();
    assert!(cases.len() >= 4);
    for case in cases {
        let (attempts, answer) = (case.attempts as usize, case.answer.unwrap_or_default());
        // Status 500 before the last attempt makes a possible duplicate.
        let answer = move |nth| if nth < attempts { (500, String::new()) } else { (200, answer.clone()) };
        let fixture = start_daemon_with("samples-events", &[], answer).await;
        let mut properties = case.command.properties("c").with_headers(
            message::with_headers([("courier-replay", json!(case.replay))]).headers().clone().unwrap_or_default(),
        );
        properties = properties.with_content_type("application/json".into());
        let (client, commands) = (fixture.queues.client(), fixture.queues.name("commands"));
        client.publish(&commands, "send", &case.command.body(), properties).await;
        if let Some(expected) = &case.event {
            let message = fixture.queues.event_messages(1).await.swap_remove(0);
            let event = std::str::from_utf8(&message.body).expect("UTF-8");
            assert_eq!(fixed_parts(event), fixed_parts(expected.get()), "{}", case.command.name);
        }
        if case.attempts == 0 {
            assert_eq!(fixture.queues.dead_letters(1).await[0].body, case.command.body(), "{}", case.command.name);
        }
        assert_eq!(fixture.api.requests().len(), attempts, "{}", case.command.name);
        fixture.finish().await;
    }
}

/// Publishes a command and returns its event in this format.
async fn event_in(format: &str) -> Message {
    let fixture = start_daemon(format, &[("events.format", format)]).await;
    let properties = message::with_headers([("traceparent", json!(TRACEPARENT))]);
    let (client, commands) = (fixture.queues.client(), fixture.queues.name("commands"));
    client.publish(&commands, "send", order().to_string().as_bytes(), properties).await;
    let message = fixture.queues.event_messages(1).await.swap_remove(0);
    fixture.finish().await;
    message
}

/// The CloudEvents attributes common to both formats.
fn attributes(event: &Value) -> Value {
    json!({
        "specversion": "1.0", "id": event["eventId"], "source": "/edna-courier", "type": "send.succeeded",
        "subject": "order-1", "time": event["occurredAt"], "traceparent": TRACEPARENT,
    })
}

fn content_type(message: &Message) -> Option<String> {
    message.properties.content_type().as_ref().map(ToString::to_string)
}

#[tokio::test]
async fn structured_format_publishes_structured_cloudevent() {
    let message = event_in("cloudevents-structured").await;
    assert_eq!(content_type(&message).as_deref(), Some("application/cloudevents+json"));
    let envelope = message.json();
    let event = &envelope["data"];
    assert_eq!((&event["commandId"], &event["outcome"]), (&json!("order-1"), &json!("succeeded")));
    let mut expected = attributes(event);
    expected["datacontenttype"] = "application/json".into();
    expected["data"] = event.clone();
    assert_eq!(envelope, expected);
}

#[tokio::test]
async fn binary_format_publishes_binary_cloudevent() {
    let message = event_in("cloudevents-binary").await;
    assert_eq!(content_type(&message).as_deref(), Some("application/json"));
    let event = message.json();
    assert_eq!((&event["commandId"], &event["outcome"]), (&json!("order-1"), &json!("succeeded")));
    let headers = message.headers.iter();
    let published: Value =
        headers.filter_map(|(name, value)| Some((name.strip_prefix("cloudEvents_")?, value.clone()))).collect();
    assert_eq!(published, attributes(&event));
}

async fn send_with_reply_to(fixture: &DaemonFixture<RecordingApi>, queue: &str) {
    let properties = BasicProperties::default().with_reply_to(queue.into());
    let (client, commands) = (fixture.queues.client(), fixture.queues.name("commands"));
    client.publish(&commands, "send", order().to_string().as_bytes(), properties).await;
}

#[tokio::test]
async fn reply_to_with_replies_on_receives_the_event() {
    let fixture = start_daemon("reply", &[("events.replies", "true")]).await;
    let replies = fixture.queues.client().declare_exclusive_queue().await;
    send_with_reply_to(&fixture, &replies).await;
    let event = fixture.queues.event_messages(1).await.swap_remove(0);
    let reply = fixture.queues.client().read_one(&replies, TIMEOUT).await;
    assert_eq!((reply.exchange.as_str(), &reply.key), ("", &replies));
    assert_eq!((&reply.body, &reply.headers), (&event.body, &event.headers));
    assert_eq!(reply.properties.message_id(), event.properties.message_id());
    fixture.queues.client().expect_empty(&replies).await;
    fixture.finish().await;
}

#[tokio::test]
async fn reply_to_with_replies_off_receives_nothing() {
    let fixture = start_daemon("no-reply", &[]).await;
    let replies = fixture.queues.client().declare_exclusive_queue().await;
    send_with_reply_to(&fixture, &replies).await;
    fixture.queues.events(1).await;
    fixture.queues.client().expect_empty(&replies).await;
    fixture.finish().await;
}

#[tokio::test]
async fn reply_to_missing_queue_does_not_block() {
    let fixture = start_daemon("reply-gone", &[("events.replies", "true")]).await;
    send_with_reply_to(&fixture, "missing-queue").await;
    assert_eq!(fixture.queues.events(1).await[0]["outcome"], "succeeded");
    let returned = [("target", "reply"), ("result", "returned")];
    let counted = async || fixture.daemon.metric("courier_publishes_total", &returned).await;
    eventually!(TIMEOUT, counted().await, |count| *count == 1.0, "a returned reply");
    let in_hand = async || fixture.daemon.metric("courier_in_hand", &[]).await;
    eventually!(TIMEOUT, in_hand().await, |count| *count == 0.0, "no command in hand");
    assert_eq!(fixture.daemon.metric("courier_gate_closed", &[]).await, 0.0);
    fixture.finish().await;
}
