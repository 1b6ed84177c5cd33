//! A test's own exchanges and queues, apart from every other test's on the shared broker.

use std::{sync::Mutex, thread, time::Duration};

use lapin::{
    Connection, ConnectionProperties, ExchangeKind,
    options::{ExchangeDeleteOptions, QueueDeleteOptions},
};
use serde_json::Value;
use tokio::time::timeout;

use super::{SOON, broker::Broker, client::Client, message::Message, unique};

/// What the daemon's topology declares under a prefix by default.
const TOPOLOGY: [&str; 9] =
    ["commands", "retry.5s", "retry.30s", "retry.2m", "retry.10m", "retry.1h", "events", "dead", "unroutable"];

/// Names under a prefix of this test's own (`broker.prefix`), and a client for them. All that the daemon and the test
/// declare under it is deleted on drop, so keep it longer than the daemon: create it first.
#[derive(Debug)]
pub(crate) struct Queues {
    prefix: String,
    broker: Broker,
    names: Mutex<Vec<String>>,
    client: Client,
}

impl Queues {
    /// On the shared broker, for the test of this name.
    pub(crate) async fn new(test: &str) -> Self {
        Self::on(Broker::shared().await, test).await
    }

    /// On this broker, which lives at least as long as these.
    pub(crate) async fn on(broker: &Broker, test: &str) -> Self {
        let prefix = unique(&format!("t-{test}"));
        let names = TOPOLOGY.iter().map(|name| format!("{prefix}.{name}")).collect();
        Self { prefix, broker: broker.clone(), names: Mutex::new(names), client: Client::connect(broker.url()).await }
    }

    /// Connects anew, once the broker is back.
    pub(crate) async fn reconnect(&mut self) {
        self.client = Client::connect(self.broker.url()).await;
    }

    /// For the setting `broker.prefix`.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Where they are.
    pub(crate) fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Publishes, reads and asks, on the broker itself whatever a proxy does; does not reconnect by itself.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// `<prefix>.<name>`, also deleted on drop, if exchange or queue: for tiers and partitions of a test's own.
    pub(crate) fn name(&self, name: &str) -> String {
        let full = format!("{}.{name}", self.prefix);
        let mut names = self.names.lock().expect("not poisoned");
        if !names.contains(&full) {
            names.push(full.clone());
        }
        full
    }

    /// Declares the exchange and the quorum queue `<prefix>.<name>` and binds them by the key.
    pub(crate) async fn declare(&self, name: &str, kind: ExchangeKind, key: &str) -> String {
        let full = self.name(name);
        self.client.declare(&full, kind, key).await;
        full
    }

    /// Publishes a command the way producers do.
    pub(crate) async fn send(&self, command: &Value) {
        let properties = lapin::BasicProperties::default().with_content_type("application/json".into());
        self.client.publish(&self.name("commands"), "send", command.to_string().as_bytes(), properties).await;
    }

    /// Takes the next `n` events from the default events queue.
    pub(crate) async fn events(&self, n: u16) -> Vec<Value> {
        self.event_messages(n).await.iter().map(Message::json).collect()
    }

    /// The same with their properties.
    pub(crate) async fn event_messages(&self, n: u16) -> Vec<Message> {
        self.client.read(&self.name("events"), n, SOON).await
    }

    /// Takes the next `n` dead letters.
    pub(crate) async fn dead_letters(&self, n: u16) -> Vec<Message> {
        self.client.read(&self.name("dead"), n, SOON).await
    }

    /// Insists that no queue of the topology has a message ready.
    pub(crate) async fn expect_all_empty(&self) {
        let names = self.names.lock().expect("not poisoned").clone();
        for name in names {
            // A test may have tiers of its own instead of the usual ones.
            if self.client.exists(&name).await {
                self.client.expect_empty(&name).await;
            }
        }
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        let (url, names) = (self.broker.url().to_owned(), std::mem::take(self.names.get_mut().expect("not poisoned")));
        // A test's own runtime cannot be waited for from inside it.
        let deletion = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime
                .block_on(async { timeout(Duration::from_secs(10), delete(&url, &names)).await })?
                .map_err(std::io::Error::other)
        });
        match deletion.join() {
            Ok(Ok(())) => {}
            other => eprintln!("not everything under {} was deleted: {other:?}", self.prefix),
        }
    }
}

/// Deletes exchanges and queues of these names; those that are not there count as deleted.
async fn delete(url: &str, names: &[String]) -> lapin::Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    for name in names {
        channel.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default()).await?;
        channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await?;
    }
    connection.close(200, "".into()).await
}
