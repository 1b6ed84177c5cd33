//! What an installation may choose.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use tokio::sync::watch;

use super::prefetch::first_prefetch;
use crate::{
    domain::{
        command::{Command, OnUncertain},
        decode::DecodeLimits,
        event::EventFormat,
        limit::ConcurrencyLimit,
        properties::header,
        rate::Rates,
        schedule,
        tier::Tiers,
        verdict::StatusLists,
    },
    ports::Delivery,
};

/// Places of missing commands that are remembered, 50 bytes each.
const AWAY_MOST: usize = 200_000;
/// What was in a tier comes back behind the backlog. One that does not come at all holds its own device up for so long.
const GRACE: Duration = Duration::from_secs(600);

/// What an installation may choose.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What a command may look like.
    pub limits: DecodeLimits,
    /// The key of the device in the request.
    pub descriptor_field: String,
    /// Which status means what.
    pub statuses: StatusLists,
    /// After so many attempts a command is exhausted.
    pub max_attempts: u32,
    /// Where commands wait for long.
    pub tiers: Tiers,
    /// For commands that do not say.
    pub on_uncertain: OnUncertain,
    /// A deadline for commands that have none, counted from when they were made.
    pub default_ttl: Option<Duration>,
    /// How events look.
    pub event_format: EventFormat,
    /// Whether events also go to the command's `reply_to`.
    pub replies: bool,
    /// Which commands keep their order.
    pub order: Order,
    /// How many attempts may be under way at once.
    pub concurrency: Concurrency,
    /// How many commands the broker hands out before one is settled, at most.
    pub prefetch: u16,
    /// The channel types that have a rate of their own: the classes of the rates, in this order.
    pub channels: Vec<String>,
    /// How many attempts may start in a second; may change at any time.
    pub rates: watch::Receiver<Rates>,
    /// How long work in hand may take to finish at shutdown.
    pub drain: Duration,
}

/// `delivery.order`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The commands for one device, or with one `orderKey`, one after the other.
    Device,
    /// None.
    None,
}

/// `limits.mode` and its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// So many.
    Fixed(u16),
    /// What the API can take, between the two.
    Adaptive(u16, u16),
}

impl Concurrency {
    /// How many it may ever be.
    #[must_use]
    pub const fn most(self) -> u16 {
        match self {
            Self::Fixed(n) | Self::Adaptive(_, n) => n,
        }
    }

    pub(super) fn limit(self) -> ConcurrencyLimit {
        match self {
            Self::Fixed(n) => ConcurrencyLimit::fixed(n.into()),
            Self::Adaptive(least, most) => ConcurrencyLimit::adaptive(least.into(), most.into()),
        }
    }
}

/// How many may be held behind missing ones where so many may be in hand.
pub(super) const fn held_most(window: usize) -> usize {
    window / 4
}

impl Rules {
    /// The bounds of the lanes. One hot device may have an eighth of what may be in hand, but some where that is little; all
    /// that wait behind missing ones a quarter, at first of the first prefetch.
    pub(super) fn lanes(&self) -> schedule::ScheduleSettings {
        let window = usize::from(self.prefetch);
        schedule::ScheduleSettings {
            lane_capacity: (window / 8).max(8).min(window / 2).max(1),
            max_held: held_most(first_prefetch(self.prefetch).into()),
            max_remembered: AWAY_MOST,
            return_grace: GRACE,
            tiers: self.tiers.iter().map(|tier| tier.length).collect(),
            classes: self.channels.len() + 1,
        }
    }

    /// Commands with the same one keep their order.
    pub(super) fn order_key(&self, command: &Command) -> Option<String> {
        match (self.order, &command.order_key) {
            (Order::None, _) => None,
            (Order::Device, Some(key)) => Some(key.clone()),
            // No channel holds a line break, so no order key of a producer's choice can look like a device by chance.
            (Order::Device, None) => Some([command.channel_type.as_str(), "\n", &command.device_address].concat()),
        }
    }

    /// The class whose rate holds for it.
    pub(super) fn class(&self, command: &Command) -> usize {
        let named = self.channels.iter().position(|channel| *channel == command.channel_type);
        named.unwrap_or(self.channels.len())
    }
}

/// Tells a send among those of its lane, also when its copy comes back from a tier.
pub(super) fn identity(delivery: &Delivery, command: &Command) -> u64 {
    let mut hasher = DefaultHasher::new();
    (command.id.as_str(), delivery.properties.int(header::REPLAY).unwrap_or(0)).hash(&mut hasher);
    hasher.finish()
}
