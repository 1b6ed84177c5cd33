//! `[limits]`

use std::time::Duration;

use super::{Mistakes, Sources, parse, reader::Reader};
use crate::{
    domain::rate::Rates,
    pipeline::{Concurrency, Order},
};

/// With HTTP/1.1 each attempt has a connection, and a machine has some 28,000 ports for those to one address.
const MAX_IN_FLIGHT: u16 = 10_000;
const MIB: u32 = 1 << 20;
const HOUR: Duration = Duration::from_secs(3_600);

/// How many attempts may run at once, and how fast they may start.
#[derive(Clone, Debug)]
pub struct LimitsSettings {
    /// Attempts in flight.
    pub concurrency: Concurrency,
    /// The channel types with a rate of their own. Their order is the order of the classes in `rates`.
    pub channels: Vec<String>,
    /// Bound of the bodies in hand, in bytes.
    pub max_bytes: u32,
    /// Attempts per second.
    pub rates: Rates,
}

/// `limits.mode`
#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum ConcurrencyMode {
    Adaptive,
    Fixed,
}

impl LimitsSettings {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let min = reader.whole("limits.min_in_flight", 2..=MAX_IN_FLIGHT);
        let max = reader.whole("limits.max_in_flight", 1..=MAX_IN_FLIGHT);
        let concurrency = match reader.choice("limits.mode").unwrap_or(ConcurrencyMode::Adaptive) {
            ConcurrencyMode::Fixed => Concurrency::Fixed(max),
            ConcurrencyMode::Adaptive => Concurrency::Adaptive(min.min(max), max),
        };
        let max_bytes = reader.whole("limits.max_bytes_in_hand", MIB..=1_024 * MIB);
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
            reader.mistake(
                "limits.device_interval",
                "needs delivery.order = \"device\"; set that, or remove the interval",
            );
        }
        Self { concurrency, channels, max_bytes, rates }
    }

    /// Reads this section alone, for a daemon that reloads its rates.
    ///
    /// # Errors
    /// All mistakes in the section, and all unknown names.
    pub fn load(sources: &Sources) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(sources);
        let limits = Self::read(&mut reader);
        reader.finish(limits)
    }

    /// The prefetch of the consumer: one and a half times the attempts in flight, so that attempts need not wait for
    /// deliveries while outcomes are published.
    ///
    /// Never 0, which RabbitMQ would take for 2,000 on a quorum queue.
    #[must_use]
    pub const fn prefetch(&self) -> u16 {
        let max = self.concurrency.max();
        max + max.div_ceil(2)
    }
}

/// Parses `WHATSAPP=20`.
fn channel_rate(text: &str) -> Result<(String, f64), String> {
    let Some((channel, rate)) = text.split_once('=').map(|(channel, rate)| (channel.trim(), rate.trim())) else {
        return Err("is not a channel type with a rate; write WHATSAPP=20".to_owned());
    };
    Ok((channel.to_owned(), parse::rate(rate).map_err(|problem| format!("{channel}: {problem}"))?))
}
