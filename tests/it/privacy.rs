//! Personal data and secrets of commands appear only in command bodies, at log level `trace` and for every outcome.

use axum::http::StatusCode;
use edna_courier::sandbox::{Options, Rule, ScriptedResponse};
use lapin::BasicProperties;
use serde_json::{Value, json};

use crate::support::{
    TIMEOUT,
    eventually::eventually,
    fixture::{Fixture, start_ready},
    message::Message,
};

const TOKEN: &str = "TOKEN-2f61c0";
/// Contents of each command; none may appear outside of command bodies.
const TEXT: &str = "TEXT-9c1be7";
const ADDRESS: &str = "ADDRESS-41d0aa";
const CLIENT: &str = "CLIENT-77ab03";
const ORDER: &str = "ORDER-5e90f2";
const URL: &str = "URL-c0ffee";
const NAME: &str = "NAME-13b7d9";
/// Returned to the producer in the event.
const METADATA: &str = "METADATA-8d4410";

fn secret_command(id: &str, extra: &Value) -> Value {
    let mut command = json!({
        "commandId": id, "channelType": "WHATSAPP", "deviceAddress": format!("{ADDRESS}-{id}"),
        "text": format!("{TEXT} {id}"), "clientId": CLIENT, "orderKey": ORDER, "appMarker": "app",
        "attachments": [{"url": format!("https://{URL}.example/a"), "name": NAME}], "metadata": {"tenant": METADATA},
    });
    let fields = command.as_object_mut().expect("an object");
    fields.extend(extra.as_object().expect("an object").clone());
    command
}

/// Sends a command for each outcome; returns the number of those that become dead letters.
async fn send_all(fixture: &Fixture) -> u16 {
    let on = |id: &str, answer| Rule::new(answer).to_device(format!("{ADDRESS}-{id}"));
    let echo = json!({"message": format!("no such client {CLIENT}, {ADDRESS}: {TEXT}")});
    let status = StatusCode::BAD_REQUEST;
    let rejection = ScriptedResponse::Status { status, retry_after: None, body: Some(echo) };
    let rules = [
        on("rejected", rejection),
        on("uncertain", ScriptedResponse::Cut),
        on("resent", ScriptedResponse::Cut),
        on("timed-out", ScriptedResponse::Hang),
        on("odd", ScriptedResponse::WrongBody),
    ];
    fixture.sandbox.script(rules).expect("room");
    let send = async |id: &str, extra: Value| fixture.queues.send(&secret_command(id, &extra)).await;
    for id in ["delivered", "rejected", "resent", "odd"] {
        send(id, json!({})).await;
    }
    send("uncertain", json!({"onUncertain": "park"})).await;
    send("timed-out", json!({"onUncertain": "park"})).await;
    send("expired", json!({"expiresAt": "2020-01-01T00:00:00Z"})).await;
    // Malformed commands with a secret at the invalid place.
    send("typo", json!({"txet": TEXT})).await;
    send("type", json!({"text": {"TEXT": TEXT}, "deviceAddress": [ADDRESS]})).await;
    send("size", json!({"attachments": [{"url": URL, "size": TEXT}]})).await;
    send("channel", json!({"channelType": {"a": ADDRESS}})).await;
    let properties = BasicProperties::default().with_content_type("application/json".into());
    let commands = fixture.queues.name("commands");
    let broken = format!("{{\"commandId\": \"broken\", \"text\": \"{TEXT} {ADDRESS}");
    fixture.queues.client().publish(&commands, "send", broken.as_bytes(), properties).await;
    9
}

/// Asserts that the text contains no secret, as text or as the `Debug` format of its bytes.
fn expect_none_of(secrets: &[&str], place: &str, text: &str) {
    for secret in secrets {
        let bytes = format!("{:?}", secret.as_bytes());
        let bytes = bytes.trim_matches(['[', ']']);
        let leak = text.lines().find(|line| line.contains(secret) || line.contains(bytes));
        assert!(leak.is_none(), "{secret} in {place}: {leak:?}");
    }
}

/// All parts of the message but the body.
fn metadata(letter: &Message) -> String {
    format!("{:?} {:?} {} {}", letter.headers, letter.properties, letter.key, letter.exchange)
}

#[tokio::test]
async fn command_contents_appear_only_in_command_bodies() {
    // Events may contain the metadata, and the client id from the API's response.
    const CONTENTS: [&str; 6] = [TOKEN, TEXT, ADDRESS, ORDER, URL, NAME];
    let all = [&CONTENTS[..], &[CLIENT, METADATA]].concat();
    let fixture = Fixture::with("privacy", Options { token: Some(TOKEN.into()), ..Options::default() }).await;
    let builder = fixture.builder_without_token().set("api.token", TOKEN).set("api.timeout", "500ms");
    let daemon = start_ready(&builder.set("log.level", "trace").set("events.replies", "true")).await;

    let dead_letters = send_all(&fixture).await;
    let letters = fixture.queues.dead_letters(dead_letters).await;
    for letter in &letters {
        expect_none_of(&all, "the headers of a dead letter", &metadata(letter));
    }
    assert!(
        letters.iter().all(|letter| String::from_utf8_lossy(&letter.body).contains(TEXT)),
        "dead letters have the original body"
    );
    let events = fixture.queues.events(12).await;
    for event in &events {
        expect_none_of(&CONTENTS, "an event", &event.to_string());
    }

    // A returned message includes its body, which the client library's `Debug` output would show.
    let reply = fixture.queues.name("no-queue");
    let properties = BasicProperties::default().with_reply_to(reply.as_str().into());
    let body = secret_command("returned", &json!({})).to_string();
    fixture.queues.client().publish(&fixture.queues.name("commands"), "send", body.as_bytes(), properties).await;
    let returned = [("target", "reply"), ("result", "returned")];
    eventually!(TIMEOUT, daemon.metric("courier_publishes_total", &returned).await == 1.0, "a returned publish");
    fixture.queues.events(1).await;

    for path in ["/metrics", "/status", "/readyz"] {
        expect_none_of(&all, path, &daemon.get(path).await.1);
    }
    fixture.drain(&daemon).await;
    let log = daemon.log_text();
    assert!(
        log.contains("TRACE") && log.contains("uncertain") && log.contains("malformed"),
        "the log covers all outcomes at level trace"
    );
    expect_none_of(&all, "the log", &log);
}
