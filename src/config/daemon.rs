//! `[delivery]`, `[limits]`, `[journal]`, `[events]`, `[admin]`, `[log]`

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::{parse, reader::Reader};
use crate::{
    domain::{
        command::OnUncertain,
        decode::{MissingId, UnknownFields},
        event::EventFormat,
        tier::{Tier, Tiers},
    },
    telemetry::logging,
};

/// What a command may look like and how often it is attempted.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// After so many counted attempts a command is exhausted.
    pub max_attempts: u32,
    /// The delay queues.
    pub tiers: Tiers,
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

const YEAR: Duration = Duration::from_secs(365 * 86_400);
const MIB: usize = 1 << 20;

impl Delivery {
    pub(super) fn read(reader: &mut Reader) -> Self {
        only(reader, "delivery.order", "none", "order by device is not built yet");
        Self {
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

/// How much may be under way at once.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Attempts.
    pub max_in_flight: u16,
}

impl Limits {
    pub(super) fn read(reader: &mut Reader) -> Self {
        only(reader, "limits.mode", "fixed", "a limit that learns is not built yet");
        Self { max_in_flight: reader.whole("limits.max_in_flight", 1..=1_600) }
    }

    /// How many commands may be in hand: a quarter more than attempts, so that slots never wait for the broker while
    /// outcomes are being published. A quorum queue allows 2,000.
    #[must_use]
    pub const fn prefetch(&self) -> u16 {
        self.max_in_flight + self.max_in_flight.div_ceil(4)
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
}

impl Admin {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self { listen: reader.address("admin.listen").unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into()) }
    }
}

/// How to log.
#[derive(Clone, Debug)]
pub struct Log {
    /// Directives that the logging accepts.
    pub level: String,
    /// Text or JSON.
    pub format: logging::Format,
}

impl Log {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let level = reader.value("log.level", |text| {
            logging::parse_level(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
        });
        let format = reader.choice("log.format").unwrap_or(logging::Format::Auto);
        Self { level: level.unwrap_or_default(), format }
    }
}

/// There is no journal yet: nothing to read but that nobody counts on one.
pub(super) fn read_journal(reader: &mut Reader) {
    only(reader, "journal.kind", "none", "the journal is not built yet");
}

/// A setting whose other words are not built yet.
fn only(reader: &mut Reader, path: &str, word: &str, otherwise: &str) {
    let check = |text: &str| if text == word { Ok(()) } else { Err(format!("must be {word}: {otherwise}")) };
    reader.value(path, check);
}
