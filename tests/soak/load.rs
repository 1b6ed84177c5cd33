//! A producer that gives none of its commands up, and how each of them has to end.

use std::time::Duration;

use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    setting::MAX_ATTEMPTS,
    support::{account::Ending, queues::Queues},
};

/// A hundred commands a second.
const PACE: Duration = Duration::from_millis(10);

/// The kinds of commands, most of them plain: of every hundred, one for each line here.
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

/// What a command is like. No fault may change how it ends.
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

    fn ending(self) -> Ending {
        match self {
            Self::Delivered(_) => Ending::success(1..=MAX_ATTEMPTS),
            Self::Rejected(_) => Ending::death("failed", "rejected", 1..=MAX_ATTEMPTS),
            Self::Parked(_) => Ending::death("uncertain", "uncertain", 1..=MAX_ATTEMPTS),
            Self::Malformed => Ending::death("failed", "malformed", 0..=0),
            Self::Expired => Ending::death("expired", "expired", 0..=0),
        }
    }
}

/// The commands that were sent.
pub(crate) struct Load {
    sent: usize,
}

impl Load {
    /// Sends commands until then.
    pub(crate) async fn run(queues: &Queues, until: Instant) -> Self {
        let mut producer =
            Producer { url: queues.broker().url().to_owned(), exchange: queues.name("commands"), channel: None };
        let (mut sent, mut paces) = (0, interval(PACE));
        paces.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Instant::now() < until {
            paces.tick().await;
            producer.send(&command(sent)).await;
            sent += 1;
        }
        Self { sent }
    }

    pub(crate) fn sent(&self) -> usize {
        self.sent
    }

    /// How each has to end.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = (String, Ending)> {
        (0..self.sent).map(|index| (name(index), Kind::of(index).ending()))
    }
}

fn name(index: usize) -> String {
    format!("c-{index}")
}

fn command(index: usize) -> Value {
    let mut command =
        json!({ "commandId": name(index), "channelType": "WHATSAPP", "deviceAddress": format!("7900{index:07}") });
    let (Value::Object(command_fields), Value::Object(more)) = (&mut command, Kind::of(index).fields()) else {
        unreachable!("both are objects")
    };
    command_fields.extend(more);
    command
}

/// Straight to the broker, past the faults of the network, but not past its own: what is not confirmed is sent again.
struct Producer {
    url: String,
    exchange: String,
    channel: Option<(Connection, Channel)>,
}

impl Producer {
    async fn send(&mut self, command: &Value) {
        let (body, mut tries) = (command.to_string(), interval(10 * PACE));
        loop {
            tries.tick().await;
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
        let (_, channel) = self.channel.as_ref().expect("just made");
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default().with_delivery_mode(2);
        channel.basic_publish(self.exchange.as_str().into(), "send".into(), options, body, properties).await?.await
    }
}
