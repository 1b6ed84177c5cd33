//! A producer that retries every publish until it is confirmed, and the expected outcomes.

use std::time::Duration;

use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    config::MAX_ATTEMPTS,
    support::{collector::ExpectedOutcome, queues::Queues},
};

/// 100 commands per second.
const INTERVAL: Duration = Duration::from_millis(10);

/// Of every 100 commands, one of each of these kinds; the others succeed at the first attempt.
const KINDS: &[Kind] = &[
    Kind::Rejected("[[status=400]]"),
    Kind::Rejected("[[status=422]]"),
    Kind::Parked("[[cut]]"),
    Kind::Malformed,
    Kind::Expired,
    Kind::Delivered("[[status=503,times=1]]"),
    Kind::Delivered("[[status=503,times=4]]"),
    Kind::Delivered("[[status=500,times=2]]"),
    Kind::Delivered("[[cut,times=1]]"),
    Kind::Delivered("[[cutBefore,times=3]]"),
    Kind::Delivered("[[hang,times=1]]"),
    Kind::Delivered("[[wrongBody]]"),
];

/// A kind of command; its outcome does not depend on the injected faults.
#[derive(Clone, Copy)]
enum Kind {
    Delivered(&'static str),
    Rejected(&'static str),
    Parked(&'static str),
    Malformed,
    Expired,
}

impl Kind {
    fn of(index: usize) -> Self {
        KINDS.get(index % 100).copied().unwrap_or(Self::Delivered("hello"))
    }

    fn fields(self) -> Value {
        match self {
            Self::Delivered(text) | Self::Rejected(text) => json!({ "text": text }),
            Self::Parked(text) => json!({ "text": text, "onUncertain": "park" }),
            Self::Malformed => json!({ "text": "hello", "tetx": "a typo" }),
            Self::Expired => json!({ "text": "hello", "expiresAt": "2020-01-01T00:00:00Z" }),
        }
    }

    fn expected(self) -> ExpectedOutcome {
        match self {
            Self::Delivered(_) => ExpectedOutcome::succeeded(1..=MAX_ATTEMPTS),
            Self::Rejected(_) => ExpectedOutcome::dead_letter("failed", "rejected", 1..=MAX_ATTEMPTS),
            Self::Parked(_) => ExpectedOutcome::dead_letter("uncertain", "uncertain", 1..=MAX_ATTEMPTS),
            Self::Malformed => ExpectedOutcome::dead_letter("failed", "malformed", 0..=0),
            Self::Expired => ExpectedOutcome::dead_letter("expired", "expired", 0..=0),
        }
    }
}

/// The published commands.
pub(crate) struct CommandLoad {
    sent: usize,
}

impl CommandLoad {
    /// Publishes commands until this time.
    pub(crate) async fn run(queues: &Queues, until: Instant) -> Self {
        let mut producer =
            Producer { url: queues.broker().url().to_owned(), exchange: queues.name("commands"), channel: None };
        let (mut sent, mut ticks) = (0, interval(INTERVAL));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Instant::now() < until {
            ticks.tick().await;
            producer.send(&command(sent)).await;
            sent += 1;
        }
        Self { sent }
    }

    pub(crate) fn sent(&self) -> usize {
        self.sent
    }

    /// The command ids with their expected outcomes.
    pub(crate) fn expected(&self) -> impl Iterator<Item = (String, ExpectedOutcome)> {
        (0..self.sent).map(|index| (command_id(index), Kind::of(index).expected()))
    }
}

fn command_id(index: usize) -> String {
    format!("c-{index}")
}

fn command(index: usize) -> Value {
    let mut command = json!({ "commandId": command_id(index), "channelType": "WHATSAPP", "deviceAddress": format!("7900{index:07}") });
    let (Value::Object(command_fields), Value::Object(extra)) = (&mut command, Kind::of(index).fields()) else {
        unreachable!("both are objects")
    };
    command_fields.extend(extra);
    command
}

/// Publishes directly to the broker, not through the proxy. Unconfirmed publishes are repeated, as the broker restarts.
struct Producer {
    url: String,
    exchange: String,
    channel: Option<(Connection, Channel)>,
}

impl Producer {
    async fn send(&mut self, command: &Value) {
        let (body, mut ticks) = (command.to_string(), interval(10 * INTERVAL));
        loop {
            ticks.tick().await;
            match self.try_send(body.as_bytes()).await {
                Ok(Confirmation::Ack(None)) => return,
                Ok(_) => {}
                Err(_) => self.channel = None,
            }
        }
    }

    async fn try_send(&mut self, body: &[u8]) -> lapin::Result<Confirmation> {
        if self.channel.is_none() {
            let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            self.channel = Some((connection, channel));
        }
        let (_, channel) = self.channel.as_ref().expect("connected above");
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default().with_delivery_mode(2);
        channel.basic_publish(self.exchange.as_str().into(), "send".into(), options, body, properties).await?.await
    }
}
