//! What is no command becomes one dead letter, is told to whom it may concern, and stops nobody.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, engine::general_purpose::STANDARD};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldArray, FieldTable},
};
use serde_json::{Value, json};

use crate::support::{
    bench::Bench,
    message::Message,
    samples::{self, Case},
};

/// A case of this test alone.
fn case(value: Value) -> Case {
    serde_json::from_value(value).expect("a case")
}

/// What is too large to be written down: more than `delivery.max_body`, a very deep body, one that is no text at all.
fn large_and_strange() -> [Case; 4] {
    let large = json!({ "commandId": "c", "text": "t".repeat(300 << 10), "channelType": "C", "deviceAddress": "d" });
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let inside =
        format!(r#"{{"commandId":"c","text":"t","channelType":"C","deviceAddress":"d","metadata":{{"a":{deep}}}}}"#);
    let bytes: Vec<u8> = (0..=255).rev().cycle().take(1_000).collect();
    [
        case(json!({ "name": "300 KiB", "properties": { "message_id": "m" }, "body": large.to_string(), "id": "m",
            "malformed_field": "body", "detail": "bytes, at most 262144 are allowed" })),
        case(json!({ "name": "very deep", "body": deep, "malformed_field": "body", "detail": "must be an object" })),
        case(json!({ "name": "very deep inside", "body": inside, "id": "c", "channel_type": "C",
            "malformed_field": "metadata", "detail": "bytes, at most 4096 are allowed" })),
        case(json!({ "name": "bytes", "body_base64": STANDARD.encode(bytes),
            "malformed_field": "body", "detail": "`body` is not UTF-8 from byte 0 on" })),
    ]
}

/// What a producer may put on a message and what must stay behind.
fn with_luggage(properties: BasicProperties) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    let copies = || AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::LongString("nobody".into())]));
    headers.insert("CC".into(), copies());
    headers.insert("BCC".into(), copies());
    headers.insert("x-foo".into(), AMQPValue::LongString("bar".into()));
    headers.insert("x-death".into(), AMQPValue::FieldTable(FieldTable::default()));
    headers.insert("my-header".into(), AMQPValue::LongString("mine".into()));
    properties.with_headers(headers).with_expiration("600000".into()).with_delivery_mode(1)
}

/// Sends every case, and then a good command, through one daemon with these settings.
async fn check(test: &str, settings: &[(&str, &str)], cases: &[Case]) {
    let bench = Bench::new(test, settings).await;
    let (client, commands) = (bench.queues.client(), bench.queues.name("commands"));
    for (number, case) in cases.iter().enumerate() {
        let properties = with_luggage(case.properties(&number.to_string()));
        client.publish(&commands, "send", &case.body(), properties).await;
    }
    let good = json!({ "commandId": "good", "text": "t", "channelType": "C", "deviceAddress": "d" });
    bench.queues.send(&good).await;

    let count = |cases: usize| u16::try_from(cases).expect("not that many");
    let mut letters = by_number(bench.queues.dead_letters(count(cases.len())).await);
    let told = cases.iter().filter(|case| case.id.is_some()).count();
    let mut events = by_number(bench.queues.event_messages(count(told + 1)).await);
    assert_eq!(events.remove("good").expect("an event").json()["outcome"], "succeeded");
    for (number, case) in cases.iter().enumerate() {
        let letter = letters.remove(&number.to_string()).unwrap_or_else(|| panic!("{}: no letter", case.name));
        check_letter(case, &letter, &format!("{commands}/send"));
        check_event(case, events.remove(&number.to_string()).as_ref(), &letter);
    }
    assert_eq!(bench.posts(), (1, 1), "the good one alone");
    bench.end().await;
}

fn by_number(messages: Vec<Message>) -> BTreeMap<String, Message> {
    let number = |message: &Message| message.properties.correlation_id().as_ref().map(ToString::to_string);
    messages.into_iter().map(|message| (number(&message).expect("a correlation id"), message)).collect()
}

/// One, byte for byte, and nothing on it but what the contract lists.
fn check_letter(case: &Case, letter: &Message, source: &str) {
    let name = &case.name;
    assert_eq!(letter.body, case.body(), "{name}");
    assert_eq!(letter.key, "malformed", "{name}");
    let header = |header: &str| letter.headers.get(header).unwrap_or(&Value::Null);
    let detail = header("courier-detail").as_str().expect("a detail");
    let field = case.malformed_field.as_deref().expect("a field");
    let problem = case.detail.as_deref().expect("a problem");
    assert!(detail.contains(field) && detail.contains(problem), "{name}: {detail}");
    let plain = ["courier-attempt", "courier-reason", "courier-replay", "courier-source", "courier-version"];
    let expected = json!([0, "malformed", 0, source, env!("CARGO_PKG_VERSION")]);
    assert_eq!(json!(plain.map(header)), expected, "{name}");
    let own = plain.into_iter().chain(["courier-detail", "courier-first-seen"]).chain(case.header_names());
    let names: BTreeSet<_> = letter.headers.keys().map(String::as_str).collect();
    assert_eq!(names, own.collect::<BTreeSet<_>>(), "{name}");
    let sent = case.properties("");
    let got = &letter.properties;
    assert_eq!((got.message_id(), got.content_type()), (sent.message_id(), sent.content_type()), "{name}");
    assert_eq!(got.content_encoding(), sent.content_encoding(), "{name}");
    assert_eq!((got.expiration(), *got.delivery_mode()), (&None, Some(2)), "{name}");
}

/// Told when an id could be read, and then with the reason of the letter.
fn check_event(case: &Case, event: Option<&Message>, letter: &Message) {
    let name = &case.name;
    let Some(message) = event else { return assert_eq!(case.id, None, "{name}: no event") };
    let event = message.json();
    let expected = json!([case.id, "failed", case.channel_type, 0, null]);
    let fields = ["commandId", "outcome", "channelType", "attempts", "response"];
    assert_eq!(json!(fields.map(|field| &event[field])), expected, "{name}");
    let failure = json!({ "reason": "malformed", "httpStatus": null, "detail": letter.headers["courier-detail"] });
    assert_eq!(event["failure"], failure, "{name}");
    let channel_type = case.channel_type.as_deref().unwrap_or("unknown");
    assert_eq!(message.key, format!("send.failed.{channel_type}"), "{name}");
}

#[tokio::test]
async fn every_kind_of_it_is_buried_once_and_a_good_command_still_goes_out() {
    let mut cases: Vec<_> = samples::malformed().into_iter().filter(|case| case.limits.is_empty()).collect();
    cases.extend(large_and_strange());
    assert!(cases.len() > 80, "{}", cases.len());
    check("malformed", &[], &cases).await;
}

#[tokio::test]
async fn what_is_ignored_must_be_sound_too() {
    let ignoring = |case: &Case| case.limits.get("unknown_fields").is_some_and(|word| word == "ignore");
    let cases: Vec<_> = samples::malformed().into_iter().filter(ignoring).collect();
    assert!(!cases.is_empty());
    check("malformed-ignored", &[("delivery.unknown_fields", "ignore")], &cases).await;
}

#[tokio::test]
async fn a_text_may_be_as_long_as_the_setting_says() {
    let cases: Vec<_> = samples::malformed().into_iter().filter(|case| case.limits.contains_key("max_text")).collect();
    assert!(!cases.is_empty());
    check("malformed-text", &[("delivery.max_text", "4")], &cases).await;
}
