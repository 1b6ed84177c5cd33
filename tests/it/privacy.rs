//! What customers and their operators write to each other, and who they are, is nobody else's business: at the chattiest
//! log level and through every kind of trouble, none of it shows where it does not belong.

use axum::http::StatusCode;
use edna_courier::sandbox::{Options, Rule, ScriptedResponse};
use lapin::BasicProperties;
use serde_json::{Value, json};

use crate::support::{
    SOON,
    eventually::eventually,
    message::Message,
    stage::{Stage, start_ready},
};

const TOKEN: &str = "TOKEN-2f61c0";
/// Parts of every command's contents. None may appear outside of bodies of commands.
const TEXT: &str = "TEXT-9c1be7";
const ADDRESS: &str = "ADDRESS-41d0aa";
const CLIENT: &str = "CLIENT-77ab03";
const ORDER: &str = "ORDER-5e90f2";
const URL: &str = "URL-c0ffee";
const NAME: &str = "NAME-13b7d9";
/// The caller's own: goes back to it in the event.
const METADATA: &str = "METADATA-8d4410";

fn secret_command(id: &str, more: &Value) -> Value {
    let mut command = json!({
        "commandId": id, "channelType": "WHATSAPP", "deviceAddress": format!("{ADDRESS}-{id}"),
        "text": format!("{TEXT} {id}"), "clientId": CLIENT, "orderKey": ORDER, "appMarker": "app",
        "attachments": [{"url": format!("https://{URL}.example/a"), "name": NAME}], "metadata": {"tenant": METADATA},
    });
    let fields = command.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    command
}

/// One command for each way that things can go; returns how many of them become dead letters.
async fn send_all(stage: &Stage) -> u16 {
    let on = |id: &str, answer| Rule::new(answer).to_device(format!("{ADDRESS}-{id}"));
    let echo = json!({"message": format!("no such client {CLIENT}, {ADDRESS}: {TEXT}")});
    let status = StatusCode::BAD_REQUEST;
    let refusal = ScriptedResponse::Status { status, retry_after: None, body: Some(echo) };
    let rules = [
        on("rejected", refusal),
        on("uncertain", ScriptedResponse::Cut),
        on("resent", ScriptedResponse::Cut),
        on("timed-out", ScriptedResponse::Hang),
        on("odd", ScriptedResponse::WrongBody),
    ];
    stage.sandbox.script(rules).expect("room");
    let send = async |id: &str, more: Value| stage.queues.send(&secret_command(id, &more)).await;
    for id in ["delivered", "rejected", "resent", "odd"] {
        send(id, json!({})).await;
    }
    send("uncertain", json!({"onUncertain": "park"})).await;
    send("timed-out", json!({"onUncertain": "park"})).await;
    send("expired", json!({"expiresAt": "2020-01-01T00:00:00Z"})).await;
    // Each with the contents in the place of the mistake.
    send("typo", json!({"txet": TEXT})).await;
    send("type", json!({"text": {"TEXT": TEXT}, "deviceAddress": [ADDRESS]})).await;
    send("size", json!({"attachments": [{"url": URL, "size": TEXT}]})).await;
    send("channel", json!({"channelType": {"a": ADDRESS}})).await;
    let properties = BasicProperties::default().with_content_type("application/json".into());
    let commands = stage.queues.name("commands");
    let broken = format!("{{\"commandId\": \"broken\", \"text\": \"{TEXT} {ADDRESS}");
    stage.queues.client().publish(&commands, "send", broken.as_bytes(), properties).await;
    9
}

/// Neither as text nor as the numbers that Rust prints bytes as.
fn expect_none_of(secrets: &[&str], place: &str, text: &str) {
    for secret in secrets {
        let bytes = format!("{:?}", secret.as_bytes());
        let bytes = bytes.trim_matches(['[', ']']);
        let shown = text.lines().find(|line| line.contains(secret) || line.contains(bytes));
        assert!(shown.is_none(), "{secret} in {place}: {shown:?}");
    }
}

/// Headers and all other properties, as they print.
fn around_the_body(letter: &Message) -> String {
    format!("{:?} {:?} {} {}", letter.headers, letter.properties, letter.key, letter.exchange)
}

#[tokio::test]
async fn contents_of_commands_show_nowhere_else() {
    // What an event may have: the metadata, and the client's id where the API answers with it.
    const CONTENTS: [&str; 6] = [TOKEN, TEXT, ADDRESS, ORDER, URL, NAME];
    let all = [&CONTENTS[..], &[CLIENT, METADATA]].concat();
    let stage = Stage::with("privacy", Options { token: Some(TOKEN.into()), ..Options::default() }).await;
    let setup = stage.setup_without_token().set("api.token", TOKEN).set("api.timeout", "500ms");
    let daemon = start_ready(&setup.set("log.level", "trace").set("events.replies", "true")).await;

    let dead_letters = send_all(&stage).await;
    let letters = stage.queues.dead_letters(dead_letters).await;
    for letter in &letters {
        expect_none_of(&all, "the headers of a dead letter", &around_the_body(letter));
    }
    assert!(letters.iter().all(|letter| String::from_utf8_lossy(&letter.body).contains(TEXT)), "bodies are whole");
    let events = stage.queues.events(12).await;
    for event in &events {
        expect_none_of(&CONTENTS, "an event", &event.to_string());
    }

    // What the broker returns, it returns whole; the client library would print it.
    let reply = stage.queues.name("nobody");
    let properties = BasicProperties::default().with_reply_to(reply.as_str().into());
    let body = secret_command("returned", &json!({})).to_string();
    stage.queues.client().publish(&stage.queues.name("commands"), "send", body.as_bytes(), properties).await;
    let returned = [("target", "reply"), ("result", "returned")];
    eventually!(SOON, daemon.metric("courier_publishes_total", &returned).await == 1.0, "a returned publish");
    stage.queues.events(1).await;

    for path in ["/metrics", "/status", "/readyz"] {
        expect_none_of(&all, path, &daemon.get(path).await.1);
    }
    stage.end(&daemon).await;
    let log = daemon.log_text();
    assert!(log.contains("TRACE") && log.contains("uncertain") && log.contains("malformed"), "the log tells a lot");
    expect_none_of(&all, "the log", &log);
}
