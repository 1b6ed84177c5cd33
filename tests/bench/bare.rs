//! The bare loop, the baseline of the benchmark: a minimal consumer written with the same libraries as the daemon. It
//! consumes a command, posts it, publishes the event and acks.
//!
//! It has no retries, dead letters, order, journal or metrics, and panics on any error. Keep it simple, correct, and as
//! fast as its simplicity allows. It is also the example `bare`, to build it with the release profile.
#![cfg_attr(not(test), expect(clippy::expect_used, reason = "any error ends the benchmark"))]
#![expect(clippy::disallowed_methods, reason = "tests spawn servers, read the clock and the environment")]

use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions},
    types::FieldTable,
};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) const AMQP_URL: &str = "BENCH_AMQP_URL";
pub(crate) const PREFIX: &str = "BENCH_PREFIX";
pub(crate) const API_URL: &str = "BENCH_API_URL";
pub(crate) const IN_FLIGHT: &str = "BENCH_IN_FLIGHT";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Command {
    command_id: String,
    text: String,
    channel_type: String,
    device_address: String,
}

#[derive(Clone)]
struct BareLoop {
    channel: Channel,
    http: reqwest::Client,
    url: String,
    events: String,
}

#[tokio::main]
pub(crate) async fn main() {
    let (prefix, in_flight) = (env(PREFIX), env(IN_FLIGHT).parse().expect("a number"));
    let connection = Connection::connect(&env(AMQP_URL), ConnectionProperties::default()).await.expect("a connection");
    let channel = connection.create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirm mode");
    channel.basic_qos(in_flight, BasicQosOptions::default()).await.expect("a prefetch limit");
    let (queue, options) = (format!("{prefix}.commands").into(), BasicConsumeOptions::default());
    let consumer = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await;
    let mut consumer = consumer.expect("a consumer");
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("{}/api/v1/messages/outgoing-to-device", env(API_URL));
    let bare_loop = BareLoop { channel, http, url, events: format!("{prefix}.events") };
    while let Some(delivery) = consumer.next().await {
        let (bare_loop, delivery) = (bare_loop.clone(), delivery.expect("a delivery"));
        tokio::spawn(async move { bare_loop.handle(delivery).await });
    }
}

/// The value of an environment variable that the benchmark sets.
fn env(name: &str) -> String {
    std::env::var(name).expect("the environment variables of the benchmark")
}

impl BareLoop {
    async fn handle(self, delivery: Delivery) {
        let command: Command = serde_json::from_slice(&delivery.data).expect("a command");
        let descriptor = json!({"channelType": command.channel_type, "deviceAddress": command.device_address});
        let request = json!({"text": command.text, "attachments": [], "clientApplicationDescriptor": descriptor});
        let post = self.http.post(&self.url).bearer_auth("t").header("content-type", "application/json");
        let response = post.body(request.to_string()).send().await.expect("a response");
        let response = response.error_for_status().expect("a success").bytes().await.expect("a body");
        let response: Value = serde_json::from_slice(&response).expect("JSON");

        let event = json!({
            "eventId": uuid::Uuid::new_v4(), "commandId": command.command_id, "outcome": "succeeded",
            "channelType": command.channel_type, "occurredAt": jiff::Timestamp::now().to_string(), "response": response,
        });
        let key = format!("send.succeeded.{}", command.channel_type);
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into())
            .with_correlation_id(command.command_id.into());
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (exchange, event) = (self.events.as_str().into(), event.to_string());
        let published = self.channel.basic_publish(exchange, key.into(), options, event.as_bytes(), properties).await;
        let confirmation = published.expect("written").await.expect("a confirm");
        assert!(matches!(confirmation, Confirmation::Ack(None)), "the event is stored");
        delivery.ack(BasicAckOptions::default()).await.expect("acked");
    }
}
