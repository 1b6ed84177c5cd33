//! Our publisher against two traps of the client library, which names a message's fate to another's sender when several
//! threads publish on one channel, and hangs a returned message on whichever confirm comes next.

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

use crate::support::{SOON, client::Published, eventually::eventually, proxy::Proxy, queues::Queues};

const BATCH: usize = 600;

#[derive(Clone)]
struct Fair;

impl Random for Fair {
    fn random_unit(&self) -> f64 {
        0.5
    }
}

/// A queue that takes everything, one that is full, and several that are not there.
struct Fates {
    queues: Queues,
    taking: String,
    full: String,
}

impl Fates {
    async fn new() -> Self {
        let queues = Queues::new("fates").await;
        let (taking, full) = (queues.name("taking"), queues.name("full"));
        queues.client().declare(&taking, lapin::ExchangeKind::Fanout, "").await;
        queues.client().declare_exchange(&full, lapin::ExchangeKind::Fanout).await;
        let limit =
            [("x-overflow", AMQPValue::LongString("reject-publish".into())), ("x-max-length", AMQPValue::LongInt(1))];
        queues.client().declare_queue(&full, "", limit).await;
        let fill = async || queues.client().try_publish(&full, "", b"filler", BasicProperties::default()).await;
        eventually!(SOON, fill().await, |published| *published == Published::Refused, "a full queue");
        Self { queues, taking, full }
    }

    /// The queue of the message of this number, and what has to be told of it.
    fn of(&self, number: usize) -> (String, Result<(), PublishError>) {
        match number % 7 {
            0 | 3 => (self.full.clone(), Err(PublishError::Refused)),
            1 | 4 | 6 => (self.taking.clone(), Ok(())),
            n => (format!("{}-nobody-{n}-{}", self.taking, number % 5), Err(PublishError::Returned)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_message_of_a_batch_is_told_its_own_fate() {
    let fates = Arc::new(Fates::new().await);
    let (gate, stop) = (Gate::default(), CancellationToken::new());
    let telemetry = Telemetry::new(TelemetryLimits { max_in_flight: 1, prefetch: 1 }, &Tiers::default());
    let proxy = Proxy::amqp(fates.queues.broker().host_and_port()).await;
    // Every return is there before the first confirm: nothing tells any more which belongs to which.
    proxy.withhold_confirms();
    let url = fates.queues.broker().url_at(proxy.address()).parse().expect("a URL");
    let broker = Arc::new(amqp::BrokerAddresses::new(vec![url], OwnedTLSConfig::default()));
    let names = TopologyNames::new(fates.queues.prefix());
    let (publisher, serving) = Publisher::new(broker, names, gate, telemetry.expect("metrics"), Fair, stop.clone());
    let serving = tokio::spawn(serving);

    // From many threads at once, as the pipeline's tasks do.
    let publishing = (0..BATCH).map(|number| {
        let (publisher, fates) = (publisher.clone(), Arc::clone(&fates));
        tokio::spawn(async move {
            let (queue, wanted) = fates.of(number);
            let (target, body) = (Target::Reply(queue), Bytes::from(number.to_string()));
            let told = publisher.publish(Arc::new(Message { target, properties: Properties::default(), body })).await;
            (told != wanted).then_some((number, wanted, told))
        })
    });
    let publishing: Vec<_> = publishing.collect();
    let taken: BTreeSet<_> = (0..BATCH).filter(|number| fates.of(*number).1.is_ok()).collect();
    let (client, many) = (fates.queues.client(), u16::try_from(taken.len()).expect("few"));
    eventually!(SOON, client.depth(&fates.taking).await == u32::from(many), "the whole batch at the broker");
    proxy.resume().await;
    let wrong: Vec<_> = join_all(publishing).await.into_iter().filter_map(|done| done.expect("no panic")).collect();
    assert!(wrong.is_empty(), "{} of {BATCH} were told another's fate: {wrong:?}", wrong.len());

    let stored = client.read(&fates.taking, many, SOON).await;
    let stored: BTreeSet<_> =
        stored.iter().map(|m| String::from_utf8_lossy(&m.body).parse().expect("a number")).collect();
    assert_eq!(stored, taken, "what was confirmed is stored, once");
    client.expect_empty(&fates.taking).await;
    stop.cancel();
    assert!(serving.await.expect("no panic"), "flushed");
}
