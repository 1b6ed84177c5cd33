//! The cases of `tests/data/` through the whole daemon, the formats of events, and replies.

use lapin::BasicProperties;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::support::{
    SOON,
    api::{Api, GOOD},
    bench::Bench,
    eventually::eventually,
    message::{self, Message},
    queues::Queues,
    samples::{self, Case},
};

async fn bench(test: &str, settings: &[(&str, &str)]) -> Bench<Api> {
    bench_with(test, settings, |_| (200, GOOD.to_owned())).await
}

async fn bench_with(
    test: &str,
    settings: &[(&str, &str)],
    answer: impl Fn(usize) -> (u16, String) + Send + Sync + 'static,
) -> Bench<Api> {
    let api = Api::answering(answer).await;
    let url = api.url().to_owned();
    Bench::on(Queues::new(test).await, api, &url, settings).await
}

fn order() -> Value {
    json!({ "commandId": "order-1", "text": "Hello", "channelType": "WHATSAPP", "deviceAddress": "89000000000" })
}

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Each arrives at the API as the request of the file, and its event tells id and metadata as they came.
async fn check_commands(test: &str, settings: &[(&str, &str)], fits: impl Fn(&Case) -> bool) {
    let bench = bench(test, settings).await;
    let cases: Vec<_> = samples::commands().into_iter().filter(fits).collect();
    assert!(!cases.is_empty());
    // One by one, as several are the same request.
    for (number, case) in cases.iter().enumerate() {
        let name = &case.name;
        case.send(&bench.queues, "otherwise").await;
        let event = bench.queues.event_messages(1).await.swap_remove(0);
        let requests = bench.api.requests();
        assert_eq!(requests.len(), number + 1, "{name}");
        assert_eq!(requests[number].json(), *case.request.as_ref().expect("a request"), "{name}");
        check_event(case, &event);
    }
    bench.end().await;
}

fn check_event(case: &Case, message: &Message) {
    let name = &case.name;
    let event = message.json();
    let channel = case.request.as_ref().map(|request| &request["clientApplicationDescriptor"]["channelType"]);
    let told = json!([event["outcome"], event["channelType"], event["attempts"], event["failure"]]);
    assert_eq!(told, json!(["succeeded", channel, 1, null]), "{name}");
    match case.id.as_deref().expect("an id") {
        // The file's word for an id that nobody can foresee.
        "generated" => assert!(event["commandId"].as_str().is_some_and(|id| id.len() == 36), "{name}"),
        id => assert_eq!(event["commandId"], id, "{name}"),
    }
    let body = std::str::from_utf8(&message.body).expect("UTF-8");
    let metadata = format!(r#""metadata":{}}}"#, case.metadata.as_deref().unwrap_or("null"));
    assert!(body.ends_with(&metadata), "{name}: byte for byte {metadata} in {body}");
    let correlation_id = message.properties.correlation_id().as_ref();
    let expected = case.properties("otherwise");
    assert_eq!(correlation_id, expected.correlation_id().as_ref(), "{name}");
    let sent = expected.headers().as_ref().is_some_and(|headers| headers.contains_key("traceparent"));
    assert_eq!(message.headers.contains_key("traceparent"), sent, "{name}");
}

#[tokio::test]
async fn commands_and_cloudevents_arrive_as_the_requests_of_the_files() {
    check_commands("samples", &[], |case| case.limits.is_empty()).await;
}

#[tokio::test]
async fn what_settings_allow_arrives_too() {
    let settings =
        [("delivery.missing_id", "generate"), ("delivery.unknown_fields", "ignore"), ("delivery.max_text", "5")];
    check_commands("samples-limits", &settings, |case| {
        ["missing_id", "unknown_fields", "max_text"].iter().any(|limit| case.limits.contains_key(*limit))
    })
    .await;
    let allowed = |case: &Case| case.limits.contains_key("channel_types");
    check_commands("samples-channels", &[("api.channel_types", "WHATSAPP,web-chat_2")], allowed).await;
}

/// A case of events.json, as far as a daemon can be brought to it.
#[derive(Deserialize)]
struct EventCase {
    command: Case,
    answer: Option<String>,
    replay: u32,
    attempts: u32,
    /// What the daemon found out by itself: its words are its own.
    failure: Option<Value>,
    event: Option<Box<RawValue>>,
}

/// The event's text around what differs from run to run.
fn fixed_parts(event: &str) -> (String, String) {
    let (before, rest) = event.split_once(r#""occurredAt":""#).expect("occurredAt");
    let (_, rest) = rest.split_once('"').expect("the end of a time");
    let (middle, rest) = rest.split_once(r#""timing":{"waitedMs":"#).expect("timing");
    let (_, after) = rest.split_once('}').expect("the end of an object");
    (format!("{before}{middle}"), after.to_owned())
}

#[tokio::test]
async fn events_are_told_letter_by_letter_as_in_the_file() {
    let cases: Vec<EventCase> = samples::events();
    let cases: Vec<_> = cases.into_iter().filter(|case| case.failure.is_none()).collect();
    assert!(cases.len() >= 4);
    for case in cases {
        let (attempts, answer) = (case.attempts as usize, case.answer.unwrap_or_default());
        // Attempts before the last one leave everybody in doubt.
        let answer = move |nth| if nth < attempts { (500, String::new()) } else { (200, answer.clone()) };
        let bench = bench_with("samples-events", &[], answer).await;
        let mut properties = case.command.properties("c").with_headers(
            message::with_headers([("courier-replay", json!(case.replay))]).headers().clone().unwrap_or_default(),
        );
        properties = properties.with_content_type("application/json".into());
        let (client, commands) = (bench.queues.client(), bench.queues.name("commands"));
        client.publish(&commands, "send", &case.command.body(), properties).await;
        if let Some(expected) = &case.event {
            let message = bench.queues.event_messages(1).await.swap_remove(0);
            let told = std::str::from_utf8(&message.body).expect("UTF-8");
            assert_eq!(fixed_parts(told), fixed_parts(expected.get()), "{}", case.command.name);
        }
        if case.attempts == 0 {
            assert_eq!(bench.queues.dead_letters(1).await[0].body, case.command.body(), "{}", case.command.name);
        }
        assert_eq!(bench.api.requests().len(), attempts, "{}", case.command.name);
        bench.end().await;
    }
}

/// One event in this format.
async fn event_in(format: &str) -> Message {
    let bench = bench(format, &[("events.format", format)]).await;
    let properties = message::with_headers([("traceparent", json!(TRACEPARENT))]);
    let (client, commands) = (bench.queues.client(), bench.queues.name("commands"));
    client.publish(&commands, "send", order().to_string().as_bytes(), properties).await;
    let message = bench.queues.event_messages(1).await.swap_remove(0);
    bench.end().await;
    message
}

/// The attributes that both formats have.
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
async fn an_event_is_a_structured_cloudevent_where_that_is_set() {
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
async fn an_event_is_a_binary_cloudevent_where_that_is_set() {
    let message = event_in("cloudevents-binary").await;
    assert_eq!(content_type(&message).as_deref(), Some("application/json"));
    let event = message.json();
    assert_eq!((&event["commandId"], &event["outcome"]), (&json!("order-1"), &json!("succeeded")));
    let headers = message.headers.iter();
    let told: Value =
        headers.filter_map(|(name, value)| Some((name.strip_prefix("cloudEvents_")?, value.clone()))).collect();
    assert_eq!(told, attributes(&event));
}

async fn send_with_reply_to(bench: &Bench<Api>, queue: &str) {
    let properties = BasicProperties::default().with_reply_to(queue.into());
    let (client, commands) = (bench.queues.client(), bench.queues.name("commands"));
    client.publish(&commands, "send", order().to_string().as_bytes(), properties).await;
}

#[tokio::test]
async fn a_reply_is_the_event_in_the_queue_of_who_asked() {
    let bench = bench("reply", &[("events.replies", "true")]).await;
    let replies = bench.queues.client().own_queue().await;
    send_with_reply_to(&bench, &replies).await;
    let event = bench.queues.event_messages(1).await.swap_remove(0);
    let reply = bench.queues.client().read_one(&replies, SOON).await;
    assert_eq!((reply.exchange.as_str(), &reply.key), ("", &replies));
    assert_eq!((&reply.body, &reply.headers), (&event.body, &event.headers));
    assert_eq!(reply.properties.message_id(), event.properties.message_id());
    bench.queues.client().expect_empty(&replies).await;
    bench.end().await;
}

#[tokio::test]
async fn a_reply_is_sent_only_where_that_is_set() {
    let bench = bench("no-reply", &[]).await;
    let replies = bench.queues.client().own_queue().await;
    send_with_reply_to(&bench, &replies).await;
    bench.queues.events(1).await;
    bench.queues.client().expect_empty(&replies).await;
    bench.end().await;
}

#[tokio::test]
async fn a_reply_queue_that_is_gone_holds_nothing_up() {
    let bench = bench("reply-gone", &[("events.replies", "true")]).await;
    send_with_reply_to(&bench, "nobody-asks-any-more").await;
    assert_eq!(bench.queues.events(1).await[0]["outcome"], "succeeded");
    let returned = [("target", "reply"), ("result", "returned")];
    let counted = async || bench.daemon.metric("courier_publishes_total", &returned).await;
    eventually!(SOON, counted().await, |count| *count == 1.0, "the reply that came back");
    let in_hand = async || bench.daemon.metric("courier_in_hand", &[]).await;
    eventually!(SOON, in_hand().await, |count| *count == 0.0, "the end of the command");
    assert_eq!(bench.daemon.metric("courier_gate_closed", &[]).await, 0.0);
    bench.end().await;
}
