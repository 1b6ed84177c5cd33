//! The bare loop: what a backend developer writes in an afternoon with the same libraries. Takes a command, posts it,
//! publishes the event, acknowledges. It has no retries, no dead letters, no order, no journal, no metrics; a trouble
//! ends it. It is the measure of what all that costs, so keep it simple and sound, and no slower than it need be.

use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions},
    types::FieldTable,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::settings::told;

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
struct Loop {
    channel: Channel,
    http: reqwest::Client,
    url: String,
    events: String,
}

#[tokio::main]
pub(crate) async fn main() {
    let (prefix, in_flight) = (told(PREFIX), told(IN_FLIGHT).parse().expect("a number"));
    let connection = Connection::connect(&told(AMQP_URL), ConnectionProperties::default()).await.expect("connected");
    let channel = connection.create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    channel.basic_qos(in_flight, BasicQosOptions::default()).await.expect("a prefetch limit");
    let (queue, options) = (format!("{prefix}.commands").into(), BasicConsumeOptions::default());
    let consumer = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await;
    let mut consumer = consumer.expect("a consumer");
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("{}/api/v1/messages/outgoing-to-device", told(API_URL));
    let work = Loop { channel, http, url, events: format!("{prefix}.events") };
    while let Some(delivery) = consumer.next().await {
        let (work, delivery) = (work.clone(), delivery.expect("a delivery"));
        tokio::spawn(async move { work.handle(delivery).await });
    }
}

impl Loop {
    async fn handle(self, delivery: Delivery) {
        let command: Command = serde_json::from_slice(&delivery.data).expect("a command");
        let descriptor = json!({"channelType": command.channel_type, "deviceAddress": command.device_address});
        let request = json!({"text": command.text, "attachments": [], "clientApplicationDescriptor": descriptor});
        let post = self.http.post(&self.url).bearer_auth("t").header("content-type", "application/json");
        let response = post.body(request.to_string()).send().await.expect("an answer");
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
        delivery.ack(BasicAckOptions::default()).await.expect("acknowledged");
    }
}
