//! `[delivery]`, `[limits]`, `[events]`, `[admin]`, `[log]`

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use secrecy::SecretString;

use super::{Mistakes, Sources, parse, reader::Reader};
use crate::{
    domain::{
        command::OnUncertain,
        decode::{MissingId, UnknownFields},
        event::EventFormat,
        rate::Rates,
        tier::{Tier, Tiers},
    },
    pipeline::{Concurrency, Order},
    telemetry::logging,
};

/// What a command may look like and how often it is attempted.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// After so many counted attempts a command is exhausted.
    pub max_attempts: u32,
    /// The delay queues.
    pub tiers: Tiers,
    /// Which commands keep their order.
    pub order: Order,
    /// For commands that do not say.
    pub on_uncertain: OnUncertain,
    /// A command without an id.
    pub missing_id: MissingId,
    /// A field that the contract does not know.
    pub unknown_fields: UnknownFields,
    /// For commands without a deadline.
    pub default_ttl: Option<Duration>,
    /// Characters.
    pub max_text: usize,
    /// Bytes.
    pub max_body: usize,
    /// For work in hand at shutdown.
    pub drain: Duration,
}

const HOUR: Duration = Duration::from_secs(3_600);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const MIB: usize = 1 << 20;

impl Delivery {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            order: reader.choice("delivery.order").unwrap_or(Order::Device),
            max_attempts: reader.whole("delivery.max_attempts", 1..=100),
            tiers: tiers(reader),
            on_uncertain: reader.choice("delivery.on_uncertain").unwrap_or(OnUncertain::Resend),
            missing_id: reader.choice("delivery.missing_id").unwrap_or(MissingId::Reject),
            unknown_fields: reader.choice("delivery.unknown_fields").unwrap_or(UnknownFields::Reject),
            default_ttl: reader.duration("delivery.default_ttl", Duration::from_secs(1)..=YEAR),
            max_text: reader.whole("delivery.max_text", 1..=MIB),
            max_body: reader.whole("delivery.max_body", 1_024..=16 * MIB),
            drain: reader.duration("delivery.drain", Duration::ZERO..=Duration::from_secs(3_600)).unwrap_or_default(),
        }
    }
}

/// Each is named as it is written.
pub(super) fn tiers(reader: &mut Reader) -> Tiers {
    let range = Duration::from_millis(50)..=Duration::from_secs(86_400);
    let tier = |text: &str| Ok(Tier { length: parse::duration(text, &range)?, name: text.to_owned() });
    let tiers = reader.list("delivery.tiers", tier);
    Tiers::new(tiers).unwrap_or_else(|| {
        reader.mistake("delivery.tiers", "must name at least one delay, and each length once, as in 5s,30s,2m,10m,1h");
        Tiers::default()
    })
}

/// How much may be under way at once, and how fast it may start.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Attempts under way.
    pub concurrency: Concurrency,
    /// The channel types that have a rate of their own: the classes of the rates, in this order.
    pub channels: Vec<String>,
    /// Attempts a second.
    pub rates: Rates,
}

/// Attempts under way; with HTTP/1.1 each has a connection, and a machine has some 28,000 ports for those to one address.
const MOST: u16 = 10_000;

#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Adaptive,
    Fixed,
}

impl Limits {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let (least, most) =
            (reader.whole("limits.min_in_flight", 2..=MOST), reader.whole("limits.max_in_flight", 1..=MOST));
        let concurrency = match reader.choice("limits.mode").unwrap_or(Mode::Adaptive) {
            Mode::Fixed => Concurrency::Fixed(most),
            Mode::Adaptive => Concurrency::Adaptive(least.min(most), most),
        };
        let channels = reader.list("limits.channel_per_second", channel_rate);
        let (channels, classes): (Vec<_>, Vec<_>) = channels.into_iter().unzip();
        if let Some(twice) = channels.iter().find(|one| channels.iter().filter(|other| other == one).count() > 1) {
            reader.mistake("limits.channel_per_second", format!("names {twice:?} twice; keep one"));
        }
        let rates = Rates {
            target: reader.rate("limits.per_second"),
            classes: classes.into_iter().map(Some).collect(),
            key_interval: reader.duration("limits.device_interval", Duration::ZERO..=HOUR).unwrap_or_default(),
        };
        if !rates.key_interval.is_zero() && reader.choice("delivery.order") == Some(Order::None) {
            reader.mistake("limits.device_interval", "needs delivery.order = \"device\", which tells devices apart");
        }
        Self { concurrency, channels, rates }
    }

    /// These settings alone, for a daemon that reads its rates again.
    ///
    /// # Errors
    /// Every mistake in the section, and every name that is no setting.
    pub fn load(sources: &Sources) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(sources);
        let limits = Self::read(&mut reader);
        reader.finish(limits)
    }

    /// How many commands may be in hand: half as many again as attempts, so that slots never wait for the broker while
    /// outcomes are being published. One consumer of a quorum queue gets as many as it asks for; only 0, which this never is,
    /// would be 2,000.
    #[must_use]
    pub const fn prefetch(&self) -> u16 {
        let most = self.concurrency.most();
        most + most.div_ceil(2)
    }
}

/// What is told of an outcome, and where.
#[derive(Clone, Debug)]
pub struct Events {
    /// Whether the topology has a queue for all events.
    pub default_queue: bool,
    /// Whether events also go to `reply_to`.
    pub replies: bool,
    /// How events look.
    pub format: EventFormat,
}

impl Events {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            default_queue: reader.flag("events.default_queue"),
            replies: reader.flag("events.replies"),
            format: reader.choice("events.format").unwrap_or(EventFormat::Plain),
        }
    }
}

/// The server for probes and metrics.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Who has it may pause and resume the daemon; without one nobody may.
    pub token: Option<SecretString>,
}

impl Admin {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let listen = reader.address("admin.listen").unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
        let is_set = reader.is_set("admin.token") || reader.is_set("admin.token_file");
        Self { listen, token: is_set.then(|| reader.secret_value("admin.token", admin_token)).flatten() }
    }

    /// These settings alone, for commands that talk to a running daemon.
    ///
    /// # Errors
    /// Every mistake in the section, and every name that is no setting.
    pub fn load(sources: &Sources) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(sources);
        let admin = Self::read(&mut reader);
        reader.finish(admin)
    }
}

/// It travels in a header.
fn admin_token(text: &str) -> Result<SecretString, String> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.into());
    }
    Err("has white space or characters that a header cannot carry; take letters and digits".to_owned())
}

/// How to log.
#[derive(Clone, Debug)]
pub struct Log {
    /// Directives that the logging accepts.
    pub level: String,
    /// Text or JSON.
    pub format: logging::LogFormat,
}

impl Log {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let level = reader.value("log.level", |text| {
            logging::parse_level(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
        });
        let format = reader.choice("log.format").unwrap_or(logging::LogFormat::Auto);
        Self { level: level.unwrap_or_default(), format }
    }
}

/// `WHATSAPP=20`
fn channel_rate(text: &str) -> Result<(String, f64), String> {
    let Some((channel, rate)) = text.split_once('=').map(|(channel, rate)| (channel.trim(), rate.trim())) else {
        return Err("is not a channel type and its rate; write WHATSAPP=20".to_owned());
    };
    Ok((channel.to_owned(), parse::rate(rate).map_err(|problem| format!("{channel}: {problem}"))?))
}
