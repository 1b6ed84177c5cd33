//! The faults, their durations, and what each can justify.

use std::{ops::Range, time::Duration};

use fastrand::Rng;

use crate::{
    config::API_TIMEOUT,
    doubt::{Effects, Site},
    support::proxy::Direction,
};

/// Of links to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkFault {
    Cut,
    /// 25 cuts.
    Flap,
    Freeze,
    HalfOpen(Direction),
    /// Closed on the daemon's side only.
    Lose,
    Blackhole,
    Refuse,
    WithholdConfirms,
    OnlyHeartbeats,
    Slow,
}

/// Of the API or the link to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApiFault {
    Refuse,
    Status(u16),
    /// 429 with `Retry-After`.
    Throttle,
    Hang,
    /// 401.
    TokenRefused,
    Slow,
    /// The connection closes after the request.
    Reset,
    LinkCut,
    LinkFreeze,
}

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Link(LinkFault),
    RestartBroker,
    MemoryAlarm,
    /// A listener's queue of events is full.
    FullListener,
    /// The queue of a tier is missing.
    DeletedTier,
    Api(ApiFault),
    /// An outage of 20 to 40 s at one command a second.
    Trickle(ApiFault),
    RestartRedis,
    SuspendRedis,
    CutRedis,
    /// SIGKILL of a daemon with the Redis journal.
    Kill,
    /// SIGTERM.
    Terminate,
    /// A message that crashes each daemon that receives it.
    CrashingMessage,
}

pub(crate) const FAULTS: &[Fault] = &[
    Fault::Link(LinkFault::Cut),
    Fault::Link(LinkFault::Flap),
    Fault::Link(LinkFault::Freeze),
    Fault::Link(LinkFault::HalfOpen(Direction::ToServer)),
    Fault::Link(LinkFault::HalfOpen(Direction::ToClient)),
    Fault::Link(LinkFault::Lose),
    Fault::Link(LinkFault::Blackhole),
    Fault::Link(LinkFault::Refuse),
    Fault::Link(LinkFault::WithholdConfirms),
    Fault::Link(LinkFault::OnlyHeartbeats),
    Fault::Link(LinkFault::Slow),
    Fault::RestartBroker,
    Fault::MemoryAlarm,
    Fault::FullListener,
    Fault::DeletedTier,
    Fault::Api(ApiFault::Refuse),
    Fault::Api(ApiFault::Status(503)),
    Fault::Api(ApiFault::Status(502)),
    Fault::Api(ApiFault::Throttle),
    Fault::Api(ApiFault::Hang),
    Fault::Api(ApiFault::TokenRefused),
    Fault::Api(ApiFault::Slow),
    Fault::Api(ApiFault::Reset),
    Fault::Api(ApiFault::LinkCut),
    Fault::Api(ApiFault::LinkFreeze),
    Fault::Trickle(ApiFault::Refuse),
    Fault::Trickle(ApiFault::Status(503)),
    Fault::Trickle(ApiFault::Status(502)),
    Fault::Trickle(ApiFault::Hang),
    Fault::RestartRedis,
    Fault::SuspendRedis,
    Fault::CutRedis,
    Fault::Kill,
    Fault::Kill,
    Fault::Terminate,
    Fault::CrashingMessage,
];

impl Fault {
    /// How long it lasts, in ms.
    fn duration_ms(self) -> Range<u64> {
        match self {
            // Longer than two heartbeats.
            Self::Link(LinkFault::Freeze | LinkFault::HalfOpen(_) | LinkFault::OnlyHeartbeats) => 3_000..9_000,
            Self::Api(ApiFault::LinkFreeze) => {
                let timeout_ms = u64::try_from(API_TIMEOUT.as_millis()).expect("short");
                timeout_ms..3 * timeout_ms
            }
            Self::Trickle(_) => 20_000..40_000,
            // Shorter than a lease.
            Self::SuspendRedis => 1_000..8_000,
            Self::Kill | Self::Terminate => 100..3_000,
            _ => 500..6_000,
        }
    }

    pub(crate) fn duration(self, rng: &mut Rng) -> Duration {
        Duration::from_millis(rng.u64(self.duration_ms()))
    }

    /// The deployment that it hits: one, or both.
    pub(crate) fn site(self, rng: &mut Rng) -> Option<Site> {
        match self {
            Self::Link(_) | Self::FullListener | Self::DeletedTier => {
                [Some(Site::File), Some(Site::Redis), None][rng.usize(..3)]
            }
            Self::RestartRedis
            | Self::SuspendRedis
            | Self::CutRedis
            | Self::Kill
            | Self::Terminate
            | Self::CrashingMessage => Some(Site::Redis),
            // One broker and one sandbox.
            Self::RestartBroker | Self::MemoryAlarm | Self::Api(_) | Self::Trickle(_) => None,
        }
    }

    /// What it can justify. The status of each POST is evidence of its own, so answers justify nothing here.
    pub(crate) fn effects(self) -> Effects {
        match self {
            Self::Link(_) | Self::RestartBroker | Self::MemoryAlarm | Self::FullListener => Effects::REDELIVERY,
            Self::Api(fault) | Self::Trickle(fault) => match fault {
                ApiFault::Refuse | ApiFault::LinkCut | ApiFault::LinkFreeze => Effects::DOUBT,
                _ => Effects::NONE,
            },
            // Another server, which may lack records.
            Self::RestartRedis => Effects::CRASH,
            // The note that an event is published is not repeated. Each crash is a disturbance of its own.
            Self::SuspendRedis | Self::CutRedis | Self::Terminate | Self::Kill | Self::CrashingMessage => {
                Effects::REDELIVERY
            }
            Self::DeletedTier => Effects::NONE,
        }
    }
}
