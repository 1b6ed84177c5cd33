//! The exchanges and queues of one test, under a prefix of its own on the shared broker.

use std::{sync::Mutex, thread, time::Duration};

use lapin::{
    Connection, ConnectionProperties, ExchangeKind,
    options::{ExchangeDeleteOptions, QueueDeleteOptions},
};
use serde_json::Value;
use tokio::time::timeout;

use super::{TIMEOUT, broker::Broker, client::Client, message::Message, unique_name};

/// The default topology under a prefix.
const TOPOLOGY: [&str; 9] =
    ["commands", "retry.5s", "retry.30s", "retry.2m", "retry.10m", "retry.1h", "events", "dead", "unroutable"];

/// The names under a unique prefix (`broker.prefix`), and a client. Drop deletes all exchanges and queues of these names,
/// so it must outlive the daemon: create it first.
#[derive(Debug)]
pub(crate) struct Queues {
    prefix: String,
    broker: Broker,
    names: Mutex<Vec<String>>,
    client: Client,
}

impl Queues {
    /// Names for this test on the shared broker.
    pub(crate) async fn new(test: &str) -> Self {
        Self::on(Broker::shared().await, test).await
    }

    /// Names for this test on the given broker.
    pub(crate) async fn on(broker: &Broker, test: &str) -> Self {
        let prefix = unique_name(&format!("t-{test}"));
        let names = TOPOLOGY.iter().map(|name| format!("{prefix}.{name}")).collect();
        Self { prefix, broker: broker.clone(), names: Mutex::new(names), client: Client::connect(broker.url()).await }
    }

    /// Replaces the client's connection, after a broker restart.
    pub(crate) async fn reconnect(&mut self) {
        self.client = Client::connect(self.broker.url()).await;
    }

    /// The value for `broker.prefix`.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The broker.
    pub(crate) fn broker(&self) -> &Broker {
        &self.broker
    }

    /// A client connected directly to the broker, not through a proxy. It does not reconnect.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns `<prefix>.<name>` and registers it for deletion on drop.
    pub(crate) fn name(&self, name: &str) -> String {
        let full = format!("{}.{name}", self.prefix);
        let mut names = self.names.lock().expect("not poisoned");
        if !names.contains(&full) {
            names.push(full.clone());
        }
        full
    }

    /// Declares the exchange and the quorum queue `<prefix>.<name>`, bound by the key; returns the name.
    pub(crate) async fn declare(&self, name: &str, kind: ExchangeKind, key: &str) -> String {
        let full = self.name(name);
        self.client.declare(&full, kind, key).await;
        full
    }

    /// Publishes a command as producers do.
    pub(crate) async fn send(&self, command: &Value) {
        let properties = lapin::BasicProperties::default().with_content_type("application/json".into());
        self.client.publish(&self.name("commands"), "send", command.to_string().as_bytes(), properties).await;
    }

    /// Consumes the next `n` events from the default events queue.
    pub(crate) async fn events(&self, n: u16) -> Vec<Value> {
        self.event_messages(n).await.iter().map(Message::json).collect()
    }

    /// Consumes the next `n` events, with their properties.
    pub(crate) async fn event_messages(&self, n: u16) -> Vec<Message> {
        self.client.read(&self.name("events"), n, TIMEOUT).await
    }

    /// Consumes the next `n` dead letters.
    pub(crate) async fn dead_letters(&self, n: u16) -> Vec<Message> {
        self.client.read(&self.name("dead"), n, TIMEOUT).await
    }

    /// Asserts that no registered queue has a ready message.
    pub(crate) async fn expect_all_empty(&self) {
        let names = self.names.lock().expect("not poisoned").clone();
        for name in names {
            // Some tests configure other tiers than the default ones.
            if self.client.exists(&name).await {
                self.client.expect_empty(&name).await;
            }
        }
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        let (url, names) = (self.broker.url().to_owned(), std::mem::take(self.names.get_mut().expect("not poisoned")));
        // Drop cannot block on the runtime it runs in.
        let deletion = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime
                .block_on(async { timeout(Duration::from_secs(10), delete(&url, &names)).await })?
                .map_err(std::io::Error::other)
        });
        match deletion.join() {
            Ok(Ok(())) => {}
            other => eprintln!("cannot delete everything under {}: {other:?}", self.prefix),
        }
    }
}

/// Deletes the exchanges and queues with these names. Deleting a missing one is no error in RabbitMQ.
async fn delete(url: &str, names: &[String]) -> lapin::Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    for name in names {
        channel.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default()).await?;
        channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await?;
    }
    connection.close(200, "".into()).await
}
