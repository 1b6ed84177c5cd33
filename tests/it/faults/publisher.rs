//! The publisher works around two defects of lapin: concurrent publishes on one channel can get each other's confirm, and
//! a returned message is attached to the next confirm.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use edna_courier::{
    amqp::{self, Publisher, topology::TopologyNames},
    domain::{
        message::{Message, Target},
        properties::Properties,
        tier::Tiers,
    },
    gate::Gate,
    ports::{Outbox, PublishError, Random},
    telemetry::{Telemetry, TelemetryLimits},
};
use futures_util::future::join_all;
use lapin::{BasicProperties, tcp::OwnedTLSConfig, types::AMQPValue};
use tokio_util::sync::CancellationToken;

use crate::support::{TIMEOUT, client::PublishResult, eventually::eventually, proxy::Proxy, queues::Queues};

const BATCH: usize = 600;

#[derive(Clone)]
struct FixedRandom;

impl Random for FixedRandom {
    fn random_unit(&self) -> f64 {
        0.5
    }
}

/// A queue that stores messages, a full queue, and names of missing queues.
struct Destinations {
    queues: Queues,
    open: String,
    full: String,
}

impl Destinations {
    async fn new() -> Self {
        let queues = Queues::new("destinations").await;
        let (open, full) = (queues.name("open"), queues.name("full"));
        queues.client().declare(&open, lapin::ExchangeKind::Fanout, "").await;
        queues.client().declare_exchange(&full, lapin::ExchangeKind::Fanout).await;
        let limit =
            [("x-overflow", AMQPValue::LongString("reject-publish".into())), ("x-max-length", AMQPValue::LongInt(1))];
        queues.client().declare_queue(&full, "", limit).await;
        let fill = async || queues.client().try_publish(&full, "", b"filler", BasicProperties::default()).await;
        eventually!(TIMEOUT, fill().await, |published| *published == PublishResult::Nacked, "a full queue");
        Self { queues, open, full }
    }

    /// The queue of the message with this number, and the expected result.
    fn of(&self, number: usize) -> (String, Result<(), PublishError>) {
        match number % 7 {
            0 | 3 => (self.full.clone(), Err(PublishError::Refused)),
            1 | 4 | 6 => (self.open.clone(), Ok(())),
            n => (format!("{}-missing-{n}-{}", self.open, number % 5), Err(PublishError::Returned)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn publish_batch_returns_each_message_its_own_result() {
    let destinations = Arc::new(Destinations::new().await);
    let (gate, stop) = (Gate::default(), CancellationToken::new());
    let telemetry = Telemetry::new(TelemetryLimits { max_in_flight: 1, prefetch: 1 }, &Tiers::default());
    let proxy = Proxy::amqp(destinations.queues.broker().host_and_port()).await;
    // All returns arrive before the first confirm, so that their order carries no information.
    proxy.withhold_confirms();
    let url = destinations.queues.broker().url_at(proxy.address()).parse().expect("a URL");
    let broker = Arc::new(amqp::BrokerAddresses::new(vec![url], OwnedTLSConfig::default()));
    let names = TopologyNames::new(destinations.queues.prefix());
    let (publisher, serving) =
        Publisher::new(broker, names, gate, telemetry.expect("metrics"), FixedRandom, stop.clone());
    let serving = tokio::spawn(serving);

    // Concurrent, on several threads, as in the pipeline.
    let publishing = (0..BATCH).map(|number| {
        let (publisher, destinations) = (publisher.clone(), Arc::clone(&destinations));
        tokio::spawn(async move {
            let (queue, expected) = destinations.of(number);
            let (target, body) = (Target::Reply(queue), Bytes::from(number.to_string()));
            let result = publisher.publish(Arc::new(Message { target, properties: Properties::default(), body })).await;
            (result != expected).then_some((number, expected, result))
        })
    });
    let publishing: Vec<_> = publishing.collect();
    let confirmed: BTreeSet<_> = (0..BATCH).filter(|number| destinations.of(*number).1.is_ok()).collect();
    let (client, count) = (destinations.queues.client(), u16::try_from(confirmed.len()).expect("fewer than 65,536"));
    eventually!(
        TIMEOUT,
        client.depth(&destinations.open).await == u32::from(count),
        "all confirmed messages are stored"
    );
    proxy.resume().await;
    let wrong: Vec<_> = join_all(publishing).await.into_iter().filter_map(|done| done.expect("no panic")).collect();
    assert!(wrong.is_empty(), "{} of {BATCH} publishes returned a wrong result: {wrong:?}", wrong.len());

    let stored = client.read(&destinations.open, count, TIMEOUT).await;
    let stored: BTreeSet<_> =
        stored.iter().map(|m| String::from_utf8_lossy(&m.body).parse().expect("a number")).collect();
    assert_eq!(stored, confirmed, "stored messages are the confirmed ones");
    client.expect_empty(&destinations.open).await;
    stop.cancel();
    assert!(serving.await.expect("no panic"), "the publisher has flushed");
}
