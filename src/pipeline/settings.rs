//! The settings of a pipeline.

use std::time::Duration;

use tokio::sync::watch;

use crate::domain::{
    command::{Command, OnUncertain},
    decode::DecodeLimits,
    event::EventFormat,
    limit::ConcurrencyLimit,
    rate::Rates,
    schedule::{HandBounds, ScheduleSettings},
    tier::Tiers,
    verdict::StatusLists,
};

/// Positions of delayed commands that the schedule remembers, about 50 bytes each.
const MAX_DELAYED_POSITIONS: usize = 200_000;
/// A delayed command returns behind the queue's backlog. One that does not return blocks its own device for this long.
const RETURN_GRACE: Duration = Duration::from_secs(600);

/// The settings of a pipeline.
#[derive(Clone, Debug)]
pub struct PipelineSettings {
    /// Limits of a command's fields.
    pub limits: DecodeLimits,
    /// The key of the device in the request.
    pub descriptor_field: String,
    /// The statuses that an installation may classify.
    pub statuses: StatusLists,
    /// An attempt ends after this time.
    pub api_timeout: Duration,
    /// A command that fails this many attempts is exhausted.
    pub max_attempts: u32,
    /// The delay tiers.
    pub tiers: Tiers,
    /// The default of a command's `onUncertain`.
    pub on_uncertain: OnUncertain,
    /// The deadline of a command without one, counted from its timestamp.
    pub default_ttl: Option<Duration>,
    /// The format of published events.
    pub event_format: EventFormat,
    /// Whether events also go to the command's `reply_to`.
    pub replies: bool,
    /// Which commands keep their order.
    pub order: Order,
    /// The bounds of concurrent attempts.
    pub concurrency: Concurrency,
    /// The maximum of unacked deliveries.
    pub prefetch: u16,
    /// The channel types with a rate of their own, which are the rate classes, in this order.
    pub channels: Vec<String>,
    /// Attempts per second; may change at any time.
    pub rates: watch::Receiver<Rates>,
    /// Whether other daemons consume the queue; may change at any time. While they do, there is no order.
    pub is_shared: watch::Receiver<bool>,
    /// How long the commands in hand may take to finish at shutdown.
    pub drain: Duration,
}

/// `delivery.order`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Commands of one device, or with one `orderKey`, are attempted one after the other.
    Device,
    /// Commands are attempted in any order.
    None,
}

/// `limits.mode` and its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// A fixed number of attempts at once.
    Fixed(u16),
    /// Adapts to the API between a minimum and a maximum.
    Adaptive(u16, u16),
}

impl Concurrency {
    /// The maximum of attempts at once.
    #[must_use]
    pub const fn max(self) -> u16 {
        match self {
            Self::Fixed(n) | Self::Adaptive(_, n) => n,
        }
    }

    pub(super) fn limit(self) -> ConcurrencyLimit {
        match self {
            Self::Fixed(n) => ConcurrencyLimit::fixed(n.into()),
            Self::Adaptive(min, max) => ConcurrencyLimit::adaptive(min.into(), max.into()),
        }
    }
}

impl PipelineSettings {
    /// The bounds for this many deliveries in hand; half of the configured prefetch is reserved for commands that need
    /// not wait.
    pub(super) fn hand_bounds(&self, max_in_hand: u16) -> HandBounds {
        let (max_in_hand, reserved) = (usize::from(max_in_hand), usize::from(self.prefetch / 2));
        HandBounds {
            max_share: max_in_hand / 2,
            max_held: max_in_hand / 4,
            max_waiting: max_in_hand.saturating_sub(reserved).max(1),
        }
    }

    /// One device may have an eighth of the prefetch in hand, and at least a few commands where the prefetch is small.
    pub(super) fn schedule(&self) -> ScheduleSettings {
        let prefetch = usize::from(self.prefetch);
        ScheduleSettings {
            min_lane_capacity: (prefetch / 8).max(8).min(prefetch / 2).max(1),
            bounds: self.hand_bounds(self.prefetch),
            max_remembered: MAX_DELAYED_POSITIONS,
            return_grace: RETURN_GRACE,
            tiers: self.tiers.iter().map(|tier| tier.length).collect(),
            classes: self.channels.len() + 1,
        }
    }

    /// Commands with the same key keep their order.
    pub(super) fn order_key(&self, command: &Command) -> Option<String> {
        match (self.order, &command.order_key) {
            (Order::None, _) => None,
            (Order::Device, Some(key)) => Some(key.clone()),
            // A channel type holds no line break, so no `orderKey` equals a device by chance.
            (Order::Device, None) => Some([command.channel_type.as_str(), "\n", &command.device_address].concat()),
        }
    }

    /// The command's rate class.
    pub(super) fn rate_class(&self, command: &Command) -> usize {
        let own = self.channels.iter().position(|channel| *channel == command.channel_type);
        own.unwrap_or(self.channels.len())
    }
}
