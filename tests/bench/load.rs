//! Publishes commands.

use std::time::Duration;

use edna_courier::{
    amqp::topology::{Topology, TopologyNames},
    domain::tier::Tiers,
};
use futures_util::future::join_all;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, options::BasicPublishOptions};
use serde_json::json;

use super::{
    cases::Load,
    support::{broker::Broker, eventually::eventually, queues::Queues},
};

/// Concurrent publishes.
const BATCH: usize = 500;

pub(crate) struct Producer {
    channel: Channel,
    exchange: String,
    _connection: Connection,
}

impl Producer {
    /// Connects and declares the daemon's topology. For a while after a queue of a million messages was deleted, RabbitMQ
    /// may refuse that with INTERNAL_ERROR, so it is tried again.
    pub(crate) async fn connect(queues: &Queues) -> Self {
        let retry_for = Duration::from_secs(60);
        let connected = |result: &Result<Connection, String>| result.is_ok();
        let connection =
            eventually!(retry_for, connect_and_declare(queues).await, connected, "a connection and the topology");
        let connection = connection.expect("accepted");
        let channel = connection.create_channel().await.expect("a channel");
        Self { channel, exchange: queues.name("commands"), _connection: connection }
    }

    /// Publishes the command with this number.
    pub(crate) async fn send(&self, number: usize, keys: usize, text: &str) {
        let id = id(number);
        let device = format!("7900{:07}", number % keys);
        let command = json!({"commandId": id, "text": text, "channelType": "WHATSAPP", "deviceAddress": device});
        let properties = BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2);
        let (exchange, options) = (self.exchange.as_str().into(), BasicPublishOptions::default());
        let body = command.to_string();
        let published = self.channel.basic_publish(exchange, "send".into(), options, body.as_bytes(), properties).await;
        drop(published.expect("written"));
    }
}

async fn connect_and_declare(queues: &Queues) -> Result<Connection, String> {
    let url = queues.broker().url();
    let connection = Connection::connect(url, ConnectionProperties::default()).await.map_err(|e| e.to_string())?;
    let names = TopologyNames::new(queues.prefix());
    let topology = Topology::new(&names, &Tiers::default(), true);
    topology.declare(&names, &connection).await.map_err(|e| e.to_string())?;
    Ok(connection)
}

/// Fills the queues with all commands of a load.
pub(crate) async fn fill(broker: &Broker, load: &Load) -> Queues {
    let queues = Queues::on(broker, "bench").await;
    let producer = Producer::connect(&queues).await;
    let text = "t".repeat(load.text_bytes);
    for first in (0..load.commands).step_by(BATCH) {
        let batch = first..(first + BATCH).min(load.commands);
        join_all(batch.map(|number| producer.send(number, load.keys, &text))).await;
    }
    let all = u32::try_from(load.commands).expect("a number of messages");
    let (client, commands) = (queues.client(), queues.name("commands"));
    eventually!(load.deadline(), client.depth(&commands).await == all, "all commands in the queue");
    queues
}

/// The id of the command with this number.
pub(crate) fn id(number: usize) -> String {
    format!("c-{number}")
}

/// The number of the command with this id.
pub(crate) fn number(id: &str) -> usize {
    id.strip_prefix("c-").and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("unknown command id: {id}"))
}
