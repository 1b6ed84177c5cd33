//! `[delivery]`

use std::time::Duration;

use super::{parse, reader::Reader};
use crate::{
    domain::{
        command::OnUncertain,
        decode::{MissingId, UnknownFields},
        tier::{Tier, Tiers},
    },
    pipeline::Order,
};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const MIB: usize = 1 << 20;

/// Which commands are accepted, and how they are attempted.
#[derive(Clone, Debug)]
pub struct DeliverySettings {
    /// Counted attempts before a command is exhausted.
    pub max_attempts: u32,
    /// The delay queues.
    pub tiers: Tiers,
    /// Whether commands for one device keep their order.
    pub order: Order,
    /// The policy for commands without `onUncertain`.
    pub on_uncertain: OnUncertain,
    /// What happens to a command without an id.
    pub missing_id: MissingId,
    /// What happens to a command with an unknown field.
    pub unknown_fields: UnknownFields,
    /// The time to live of commands without `expiresAt`.
    pub default_ttl: Option<Duration>,
    /// Largest text, in characters.
    pub max_text: usize,
    /// Largest message body, in bytes.
    pub max_body: usize,
    /// Time for commands in hand at shutdown.
    pub drain: Duration,
}

impl DeliverySettings {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            order: reader.choice("delivery.order").unwrap_or(Order::Device),
            max_attempts: reader.whole("delivery.max_attempts", 1..=100),
            tiers: read_tiers(reader),
            on_uncertain: reader.choice("delivery.on_uncertain").unwrap_or(OnUncertain::Resend),
            missing_id: reader.choice("delivery.missing_id").unwrap_or(MissingId::Reject),
            unknown_fields: reader.choice("delivery.unknown_fields").unwrap_or(UnknownFields::Reject),
            default_ttl: reader.duration("delivery.default_ttl", Duration::from_secs(1)..=YEAR),
            max_text: reader.whole("delivery.max_text", 1..=MIB),
            max_body: reader.whole("delivery.max_body", 1_024..=16 * MIB),
            drain: reader.duration("delivery.drain", Duration::ZERO..=HOUR).unwrap_or_default(),
        }
    }
}

/// The text of each duration becomes the name of its tier.
pub(super) fn read_tiers(reader: &mut Reader) -> Tiers {
    let range = Duration::from_millis(50)..=DAY;
    let tier = |text: &str| Ok(Tier { length: parse::duration(text, &range)?, name: text.to_owned() });
    let tiers = reader.list("delivery.tiers", tier);
    Tiers::new(tiers).unwrap_or_else(|| {
        let problem = "must list at least one duration, and each length once, as in 5s,30s,2m,10m,1h";
        reader.mistake("delivery.tiers", problem);
        Tiers::default()
    })
}
