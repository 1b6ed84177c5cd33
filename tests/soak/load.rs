//! The producer: random commands at 1 to 20 a second, among them special ones that never cluster, and messages that no
//! client can decode. It repeats every publish until it is confirmed.

use std::{sync::atomic::Ordering, time::Duration};

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    config::elapse,
    doubt::{Effects, Site},
    environment::Environment,
    kind::Kind,
    ledger::Culprit,
    support::raw_amqp::{RawClient, RawProperties},
};

/// Commands per second, one of them for some seconds.
const RATES: [u64; 5] = [1, 2, 5, 10, 20];
const RATE_MS: std::ops::Range<u64> = 3_000..12_000;

/// Every so many commands one is special.
const SPECIAL_INTERVAL: u64 = 8;

/// Each takes some seconds, with one command at a time: one in this many rounds.
const UNDECODABLE_ROUNDS: usize = 3;

/// The depth of a header that the client library decodes.
const NESTED_DEPTH: usize = 40;

/// Devices of each deployment.
const DEVICES: u64 = 60;

/// How many commands lie between one and its duplicate.
const DUPLICATE_DISTANCE: std::ops::Range<u64> = 2..60;

/// Not UTF-8, each in another way: a lone continuation, an overlong form, a surrogate, a cut sequence, binary.
const BINARY_IDS: [&[u8]; 5] = [b"id-\x80", b"\xc0\x80", b"\xed\xa0\x80", b"order-\xe2\x82", b"\x8f\x00\xc2\x04\xe9"];

#[derive(Clone, Copy)]
enum Special {
    Kind(Kind),
    /// An earlier command again.
    Duplicate,
    /// A command with a header of nested arrays, deep and decodable.
    Nested,
    /// A message with a binary correlation id.
    Undecodable,
}

const SPECIALS: [Special; 18] = [
    Special::Kind(Kind::Rejected),
    Special::Duplicate,
    Special::Kind(Kind::TokenRefused),
    Special::Kind(Kind::Malformed),
    Special::Kind(Kind::Cut),
    Special::Kind(Kind::Deadline),
    Special::Duplicate,
    Special::Kind(Kind::UncertainParked),
    Special::Kind(Kind::GeneratedId),
    Special::Kind(Kind::Retried),
    Special::Nested,
    Special::Undecodable,
    Special::Kind(Kind::Expired),
    Special::Duplicate,
    Special::Kind(Kind::Hanging),
    Special::Kind(Kind::UnreadAnswer),
    Special::Kind(Kind::GeneratedId),
    Special::Kind(Kind::Malformed),
];

/// Publishes commands.
pub(crate) struct CommandLoad<'a> {
    rng: Rng,
    environment: &'a Environment,
    channel: Option<(Connection, Channel)>,
    next: u64,
    /// Earlier commands are not published again.
    repeatable_from: u64,
}

impl<'a> CommandLoad<'a> {
    pub(crate) fn new(seed: u64, environment: &'a Environment) -> Self {
        let rng = Rng::with_seed(seed.rotate_left(17));
        Self { rng, environment, channel: None, next: 0, repeatable_from: 0 }
    }

    /// Publishes commands until the load ends.
    pub(crate) async fn run(&mut self) {
        let (mut rate, mut rate_until) = (RATES[0], Instant::now());
        while self.environment.is_loaded.load(Ordering::Relaxed) {
            if Instant::now() >= rate_until {
                rate = RATES[self.rng.usize(..RATES.len())];
                rate_until = Instant::now() + Duration::from_millis(self.rng.u64(RATE_MS));
            }
            let is_trickle = self.environment.is_trickle.load(Ordering::Relaxed);
            let gap_ms = 1_000 / if is_trickle { 1 } else { rate };
            elapse(Duration::from_millis(self.rng.u64(gap_ms / 2..=gap_ms * 3 / 2))).await;
            self.publish_next().await;
        }
    }

    async fn publish_next(&mut self) {
        if self.environment.is_unique.load(Ordering::Relaxed) {
            self.repeatable_from = self.next;
        }
        let site = Site::ALL[self.rng.usize(..Site::ALL.len())];
        let nth = usize::try_from(self.next / SPECIAL_INTERVAL).expect("fits");
        let (round, special) = (nth / SPECIALS.len(), SPECIALS[nth % SPECIALS.len()]);
        match special {
            _ if !self.next.is_multiple_of(SPECIAL_INTERVAL) => {
                let kind = if self.rng.u8(..4) == 0 { Kind::Parked } else { Kind::Plain };
                self.publish_new(site, kind).await;
            }
            Special::Kind(kind) => self.publish_new(site, kind).await,
            Special::Duplicate => self.publish_duplicate().await,
            Special::Nested => self.publish_nested(site).await,
            Special::Undecodable if !round.is_multiple_of(UNDECODABLE_ROUNDS) => {
                self.publish_new(site, Kind::Plain).await;
            }
            Special::Undecodable => {
                let id = BINARY_IDS[self.rng.usize(..BINARY_IDS.len())];
                let properties = RawProperties::with_correlation_id(id);
                publish_culprit(self.environment, site, &properties, "a binary correlation id").await;
            }
        }
        self.next += 1;
    }

    async fn publish_new(&mut self, site: Site, kind: Kind) {
        let body = self.command(site, kind).to_string();
        self.environment.ledger().add_command(self.next, site, kind, body.clone());
        self.publish(self.next, site, &body).await;
    }

    async fn publish_nested(&mut self, site: Site) {
        let body = self.command(site, Kind::Plain).to_string();
        let environment = self.environment;
        environment.ledger().add_command(self.next, site, Kind::Plain, body.clone());
        let broker = environment.broker.read().await;
        let now_ms = environment.now_ms();
        environment.ledger().add_publish(self.next, now_ms);
        let (exchange, properties) = (commands(environment, site), RawProperties::with_nested_header(NESTED_DEPTH));
        RawClient::connect(&broker).await.publish(&exchange, "send", &properties, body.as_bytes()).await;
    }

    fn command(&mut self, site: Site, kind: Kind) -> Value {
        let number = self.next;
        let device = format!("79{}{:06}", site as usize, self.rng.u64(..DEVICES));
        let mut command = json!({
            "commandId": format!("c-{number}-{:08x}", self.rng.u32(..)),
            "text": format!("{number} {}", kind.marker()),
            "channelType": "WHATSAPP",
            "deviceAddress": device,
            "onUncertain": if kind.is_parked() { "park" } else { "resend" },
            "metadata": { "n": number },
        });
        match kind {
            Kind::GeneratedId => command["commandId"] = Value::Null,
            Kind::Malformed => command["deviceAddress"] = Value::Null,
            Kind::Expired => command["expiresAt"] = json!("2020-01-01T00:00:00Z"),
            Kind::Deadline => {
                let deadline = Timestamp::now() + SignedDuration::from_millis(self.rng.i64(1_000..5_000));
                command["expiresAt"] = json!(deadline.to_string());
            }
            _ => {}
        }
        command
    }

    /// Publishes an earlier plain command again; a new one if there is none.
    async fn publish_duplicate(&mut self) {
        let distance = self.rng.u64(DUPLICATE_DISTANCE);
        let latest = self.next.saturating_sub(distance);
        let earlier = {
            let ledger = self.environment.ledger();
            let plain = ledger.commands.range(self.repeatable_from..latest.max(self.repeatable_from)).rev();
            let mut plain = plain.filter(|(_, command)| matches!(command.kind, Kind::Plain | Kind::Parked));
            plain.next().map(|(number, command)| (*number, command.site, command.body.clone()))
        };
        match earlier {
            Some((number, site, body)) => self.publish(number, site, &body).await,
            None => self.publish_new(Site::File, Kind::Plain).await,
        }
    }

    async fn publish(&mut self, number: u64, site: Site, body: &str) {
        let exchange = commands(self.environment, site);
        loop {
            let now_ms = self.environment.now_ms();
            self.environment.ledger().add_publish(number, now_ms);
            match self.try_publish(&exchange, body.as_bytes()).await {
                Ok(Confirmation::Ack(None)) => return,
                Ok(_) => {}
                Err(_) => self.channel = None,
            }
            elapse(Duration::from_millis(500)).await;
        }
    }

    async fn try_publish(&mut self, exchange: &str, body: &[u8]) -> lapin::Result<Confirmation> {
        if self.channel.is_none() {
            // Waits until the broker accepts connections.
            let url = self.environment.broker.read().await.url().to_owned();
            let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            self.channel = Some((connection, channel));
        }
        let (_, channel) = self.channel.as_ref().expect("connected above");
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default().with_delivery_mode(2);
        channel.basic_publish(exchange.into(), "send".into(), options, body, properties).await?.await
    }
}

/// The exchange of a deployment's commands.
fn commands(environment: &Environment, site: Site) -> String {
    environment.deployment(site).queues.name("commands")
}

/// Publishes a message that ends each session or process that receives it.
pub(crate) async fn publish_culprit(
    environment: &Environment,
    site: Site,
    properties: &RawProperties,
    cause: &'static str,
) {
    let broker = environment.broker.read().await;
    let body = format!("culprit {:08x}", fastrand::u32(..));
    let disturbance = environment.begin(Some(site), Effects::REDELIVERY, cause);
    let published_ms = environment.now_ms();
    environment.ledger().add_culprit(body.clone(), Culprit { site, published_ms, letters: 0, disturbance });
    let exchange = commands(environment, site);
    RawClient::connect(&broker).await.publish(&exchange, "send", properties, body.as_bytes()).await;
}
