//! Receives events, dead letters and poison while the faults go on, by a connection directly to the broker.

use std::time::Duration;

use edna_courier::sandbox::ReceivedFilter;
use lapin::{Channel, Connection, ConnectionProperties, message::BasicGetMessage, options::BasicGetOptions};
use serde_json::Value;

use crate::{config::elapse, doubt::Site, environment::Environment, ledger::Post, support::raw_amqp::RawClient};

const INTERVAL: Duration = Duration::from_millis(200);

/// Moves messages into the ledger.
pub(crate) struct Collector<'a> {
    environment: &'a Environment,
    url: String,
    connection: Option<(Connection, Channel)>,
    /// The number of POSTs over time.
    posts: Vec<(u64, u64)>,
}

impl<'a> Collector<'a> {
    pub(crate) async fn new(environment: &'a Environment) -> Self {
        let url = environment.broker.read().await.url().to_owned();
        Self { environment, url, connection: None, posts: Vec::new() }
    }

    /// Collects until the run is over.
    pub(crate) async fn run(&mut self) {
        while !self.environment.is_over() {
            elapse(INTERVAL).await;
            // An error means that the broker was restarted.
            drop(self.collect().await);
        }
    }

    /// Collects all messages that are there.
    pub(crate) async fn collect(&mut self) -> lapin::Result<()> {
        let environment = self.environment;
        let broker = environment.broker.read().await;
        let filter = ReceivedFilter { limit: Some(0), ..ReceivedFilter::default() };
        self.posts.push((environment.now_ms(), environment.sandbox.received(&filter).total));
        for site in Site::ALL {
            let queues = &environment.deployment(site).queues;
            while let Some(event) = self.get(&queues.name("events")).await? {
                let json = serde_json::from_slice(&event.data).unwrap_or(Value::Null);
                environment.ledger().add_event(site, &json, environment.now_ms(), environment.start_time());
            }
            while let Some(letter) = self.get(&queues.name("dead")).await? {
                let (reason, now_ms) = (letter.routing_key.as_str(), environment.now_ms());
                environment.ledger().add_letter(site, reason, &letter.data, now_ms);
            }
        }
        drop(broker);
        if environment.ledger().unburied() > 0 {
            self.collect_poison().await;
        }
        Ok(())
    }

    /// Collects what no client library can decode.
    pub(crate) async fn collect_poison(&self) {
        let environment = self.environment;
        let broker = environment.broker.read().await;
        let mut client = RawClient::connect(&broker).await;
        for site in Site::ALL {
            let poison = environment.deployment(site).queues.name("poison");
            while let Some(message) = client.get(&poison).await {
                let now_ms = environment.now_ms();
                environment.ledger().add_poison(site, &message.body, now_ms);
            }
        }
    }

    /// Takes a message. The link is direct, and the broker runs, so none is lost.
    async fn get(&mut self, queue: &str) -> lapin::Result<Option<BasicGetMessage>> {
        if self.connection.as_ref().is_none_or(|(_, channel)| !channel.status().connected()) {
            let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            self.connection = Some((connection, channel));
        }
        let (_, channel) = self.connection.as_ref().expect("connected above");
        channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await
    }

    /// Records all POSTs, with the time at which each was first counted.
    pub(crate) fn record_posts(&self) {
        for request in self.environment.sandbox.received(&ReceivedFilter::default()).requests {
            let counted = self.posts.iter().find(|(_, total)| *total >= request.sequence);
            let at_ms = counted.map_or_else(|| self.environment.now_ms(), |(at_ms, _)| *at_ms);
            let post = Post { at_ms, status: request.status, accepted: request.accepted };
            self.environment.ledger().add_post(request.text.as_deref(), post);
        }
    }
}
