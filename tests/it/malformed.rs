//! Malformed messages: one dead letter each, an event if the command id is readable, and no delay for other commands.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, engine::general_purpose::STANDARD};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldArray, FieldTable},
};
use serde_json::{Value, json};

use crate::support::{
    daemon_fixture::DaemonFixture,
    message::Message,
    samples::{self, Case},
};

/// A case from JSON.
fn case(value: Value) -> Case {
    serde_json::from_value(value).expect("a case")
}

/// Cases too large for a file: over `delivery.max_body`, deeply nested JSON, bytes that are not UTF-8.
fn generated_cases() -> [Case; 4] {
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

/// Adds properties and headers that must not be copied to the dead letter.
fn with_excluded_properties(properties: BasicProperties) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    let copies = || AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::LongString("nobody".into())]));
    headers.insert("CC".into(), copies());
    headers.insert("BCC".into(), copies());
    headers.insert("x-foo".into(), AMQPValue::LongString("bar".into()));
    headers.insert("x-death".into(), AMQPValue::FieldTable(FieldTable::default()));
    headers.insert("my-header".into(), AMQPValue::LongString("mine".into()));
    properties.with_headers(headers).with_expiration("600000".into()).with_delivery_mode(1)
}

/// Sends all cases and then a valid command through one daemon with these settings; checks all results.
async fn check(test: &str, settings: &[(&str, &str)], cases: &[Case]) {
    let fixture = DaemonFixture::new(test, settings).await;
    let (client, commands) = (fixture.queues.client(), fixture.queues.name("commands"));
    for (number, case) in cases.iter().enumerate() {
        let properties = with_excluded_properties(case.properties(&number.to_string()));
        client.publish(&commands, "send", &case.body(), properties).await;
    }
    let valid = json!({ "commandId": "valid", "text": "t", "channelType": "C", "deviceAddress": "d" });
    fixture.queues.send(&valid).await;

    let count = |cases: usize| u16::try_from(cases).expect("fewer than 65,536");
    let mut letters = by_correlation_id(fixture.queues.dead_letters(count(cases.len())).await);
    let with_id = cases.iter().filter(|case| case.id.is_some()).count();
    let mut events = by_correlation_id(fixture.queues.event_messages(count(with_id + 1)).await);
    assert_eq!(events.remove("valid").expect("an event").json()["outcome"], "succeeded");
    for (number, case) in cases.iter().enumerate() {
        let letter = letters.remove(&number.to_string()).unwrap_or_else(|| panic!("{}: no dead letter", case.name));
        check_dead_letter(case, &letter, &format!("{commands}/send"));
        check_event(case, events.remove(&number.to_string()).as_ref(), &letter);
    }
    assert_eq!(fixture.posts(), (1, 1), "a POST for the valid command only");
    fixture.finish().await;
}

fn by_correlation_id(messages: Vec<Message>) -> BTreeMap<String, Message> {
    let correlation_id = |message: &Message| message.properties.correlation_id().as_ref().map(ToString::to_string);
    messages.into_iter().map(|message| (correlation_id(&message).expect("a correlation id"), message)).collect()
}

/// Asserts that the dead letter has the original body and only the headers and properties that the contract lists.
fn check_dead_letter(case: &Case, letter: &Message, source: &str) {
    let name = &case.name;
    assert_eq!(letter.body, case.body(), "{name}");
    assert_eq!(letter.key, "malformed", "{name}");
    let header = |header: &str| letter.headers.get(header).unwrap_or(&Value::Null);
    let detail = header("courier-detail").as_str().expect("a detail");
    let field = case.malformed_field.as_deref().expect("a field");
    let expected_detail = case.detail.as_deref().expect("a detail");
    assert!(detail.contains(field) && detail.contains(expected_detail), "{name}: {detail}");
    let fixed = ["courier-attempt", "courier-reason", "courier-replay", "courier-source", "courier-version"];
    let expected = json!([0, "malformed", 0, source, env!("CARGO_PKG_VERSION")]);
    assert_eq!(json!(fixed.map(header)), expected, "{name}");
    let expected = fixed.into_iter().chain(["courier-detail", "courier-first-seen"]).chain(case.header_names());
    let names: BTreeSet<_> = letter.headers.keys().map(String::as_str).collect();
    assert_eq!(names, expected.collect::<BTreeSet<_>>(), "{name}");
    let (sent, copied) = (case.properties(""), &letter.properties);
    assert_eq!((copied.message_id(), copied.content_type()), (sent.message_id(), sent.content_type()), "{name}");
    assert_eq!(copied.content_encoding(), sent.content_encoding(), "{name}");
    assert_eq!((copied.expiration(), *copied.delivery_mode()), (&None, Some(2)), "{name}");
}

/// Asserts that there is an event exactly if the case has an id, with the detail of the dead letter.
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
async fn malformed_message_becomes_one_dead_letter() {
    let mut cases: Vec<_> = samples::malformed().into_iter().filter(|case| case.limits.is_empty()).collect();
    cases.extend(generated_cases());
    assert!(cases.len() > 80, "{}", cases.len());
    check("malformed", &[], &cases).await;
}

#[tokio::test]
async fn ignored_unknown_field_must_still_be_valid() {
    let ignoring = |case: &Case| case.limits.get("unknown_fields").is_some_and(|value| value == "ignore");
    let cases: Vec<_> = samples::malformed().into_iter().filter(ignoring).collect();
    assert!(!cases.is_empty());
    check("malformed-ignored", &[("delivery.unknown_fields", "ignore")], &cases).await;
}

#[tokio::test]
async fn text_over_max_text_is_malformed() {
    let cases: Vec<_> = samples::malformed().into_iter().filter(|case| case.limits.contains_key("max_text")).collect();
    assert!(!cases.is_empty());
    check("malformed-text", &[("delivery.max_text", "4")], &cases).await;
}
