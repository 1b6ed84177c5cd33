//! The ways in which the work on a delivery ends.

use jiff::Timestamp;

use super::outcome_claims::OutcomeClaim;
use crate::domain::{event::CommandResult, journal::RecordedOutcome};

/// How the work on a delivery ends. Each variant is settled in its own way.
pub(super) enum Resolution {
    /// The command has an outcome, which is not published yet.
    Finished(CommandResult),
    /// The journal holds the outcome of an earlier delivery. Its event is published again; what is not known to be
    /// published, only with a claim.
    AlreadyFinished(RecordedOutcome, Option<OutcomeClaim>),
    /// A copy of the command goes to a delay tier.
    Delayed(TierDelay),
    /// The delivery is not acked, and the broker delivers it again: the daemon shuts down, or the session is lost.
    Requeued,
}

/// A wait in a delay tier.
#[derive(Clone, Copy)]
pub(super) struct TierDelay {
    /// Index of the tier, the shortest first.
    pub(super) tier: usize,
    /// No attempt before this time, where the wait is longer than the tier.
    pub(super) not_before: Option<Timestamp>,
}

impl TierDelay {
    /// Not counted as an attempt, and independent of the deadline.
    pub(super) const SHORTEST: Self = Self { tier: 0, not_before: None };
}

/// Why the attempts on a command stop.
pub(super) enum AttemptExit {
    /// The work on the delivery is over.
    Resolved(Resolution),
    /// The deadline passed, or would pass before the next attempt.
    DeadlinePassed,
    /// Ended sessions returned the command too often.
    Poisoned,
    /// The command must wait in a tier, and so must those behind it in the order.
    Delay(TierDelay),
}

impl From<Resolution> for AttemptExit {
    fn from(resolution: Resolution) -> Self {
        Self::Resolved(resolution)
    }
}
