//! Decides how to handle a command that the broker has redelivered often.
//!
//! The broker counts how often sessions that ended returned a message, and dead-letters it beyond its queue's delivery
//! limit. Most commands in hand did not cause the end of a session, so the daemon publishes a copy before that: the
//! broker's count of a copy starts at zero.

/// The delivery limit of the command queue: beyond it the broker dead-letters a command with the key `poison`.
pub const DELIVERY_LIMIT: u32 = 20;

/// From half the limit on, a command is copied through a tier.
const RENEWED_FROM: u32 = DELIVERY_LIMIT / 2;

/// A command that was attempted is given up after this many copies, which some hundred lost sessions cause.
const MAX_RENEWALS: u32 = 10;

/// What a command with many returns needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnsDecision {
    /// Nothing: few returns.
    Proceed,
    /// A copy in the shortest tier, uncounted.
    Renew,
    /// Its end as poison: it was attempted, and may be what ends the sessions.
    Poison,
}

/// Decides for a command that was returned and renewed this often, after this many counted attempts. A command that was
/// never attempted is never poison.
#[must_use]
pub const fn decide(returns: u32, renewals: u32, attempts: u32) -> ReturnsDecision {
    if returns < RENEWED_FROM {
        ReturnsDecision::Proceed
    } else if renewals < MAX_RENEWALS || attempts == 0 {
        ReturnsDecision::Renew
    } else {
        ReturnsDecision::Poison
    }
}

#[cfg(test)]
mod tests {
    use super::{ReturnsDecision::*, *};

    #[test]
    fn decide_renews_from_half_the_limit_on() {
        for (returns, renewals, attempts, expected) in [
            (0, 0, 0, Proceed),
            (9, 1_000, 7, Proceed),
            (10, 0, 0, Renew),
            (u32::MAX, 9, 7, Renew),
            (10, 10, 1, Poison),
            (10, u32::MAX, 0, Renew),
        ] {
            assert_eq!(decide(returns, renewals, attempts), expected, "{returns}, {renewals}, {attempts}");
        }
    }
}
