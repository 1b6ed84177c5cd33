//! Where a command waits for its next attempt: briefly in memory, else in a delay tier.

use std::time::Duration;

use jiff::Timestamp;

use super::context::AttemptContext;
use crate::{
    domain::{
        retry::{self, Delay},
        returns::ReturnsDecision,
    },
    pipeline::{
        resolution::{AttemptExit, Resolution, TierDelay},
        schedule_handle::ScheduleGrant,
    },
    ports::{Ports, Random},
};

/// A command that returns from a tier early by at most this much waits in memory.
const MAX_EARLY: Duration = Duration::from_secs(1);

impl<P: Ports> AttemptContext<'_, P> {
    /// Copies a command that was returned often, before the queue's delivery limit makes it poison. One that would expire
    /// in the tier proceeds.
    pub(super) fn check_returns(&mut self) -> Result<(), AttemptExit> {
        match self.in_hand.state.returns_decision() {
            ReturnsDecision::Proceed => Ok(()),
            ReturnsDecision::Poison => Err(AttemptExit::Poisoned),
            ReturnsDecision::Renew if self.expires_in_tier(TierDelay::SHORTEST.tier) => Ok(()),
            ReturnsDecision::Renew => {
                self.in_hand.state.renew();
                let not_before = self.in_hand.state.not_before;
                Err(AttemptExit::Delay(TierDelay { not_before, ..TierDelay::SHORTEST }))
            }
        }
    }

    /// Delays a command that returned from a tier too early, uncounted.
    pub(super) async fn wait_until(&self, not_before: Timestamp) -> Result<(), AttemptExit> {
        let early = Duration::try_from(not_before.duration_since(self.pipeline.now())).unwrap_or_default();
        if early > MAX_EARLY {
            return Err(self.delay_in(self.pipeline.settings.tiers.longest_within(early), Some(not_before)));
        }
        Ok(self.pipeline.sleep(early).await?)
    }

    /// The delay before the next counted attempt.
    pub(super) async fn backoff(&self) -> Result<(), AttemptExit> {
        match retry::delay_after(self.in_hand.state.attempts, self.pipeline.ports.random().random_unit()) {
            Delay::InProcess(wait) if self.expires_within(wait) => Err(AttemptExit::DeadlinePassed),
            Delay::InProcess(wait) => {
                self.handle.rest(wait);
                Ok(self.pipeline.sleep(wait).await?)
            }
            Delay::InTier(turn) => Err(self.delay_in(self.pipeline.settings.tiers.for_turn(turn), None)),
        }
    }

    /// Delays a command that has waited in memory for the maximum hold: in the longest tier within the known rest of an
    /// outage, else in the shortest.
    pub(super) fn delay_after_max_hold(&self) -> AttemptExit {
        let wait = self.pipeline.api_health.remaining_wait(self.pipeline.monotonic());
        self.delay_in(self.pipeline.settings.tiers.longest_within(wait), None)
    }

    /// A command that would expire in the tier expires at once.
    fn delay_in(&self, tier: usize, not_before: Option<Timestamp>) -> AttemptExit {
        if self.expires_in_tier(tier) {
            AttemptExit::DeadlinePassed
        } else {
            AttemptExit::Delay(TierDelay { tier, not_before })
        }
    }

    pub(super) fn expires_in_tier(&self, tier: usize) -> bool {
        self.pipeline.settings.tiers.get(tier).is_some_and(|tier| self.expires_within(tier.length))
    }

    /// Waits until the schedule grants the delay: copies go to a tier in order.
    pub(super) async fn request_delay(&mut self, delay: TierDelay) -> Resolution {
        self.handle.request_delay(delay.tier);
        match self.handle.granted().await {
            ScheduleGrant::Delay(tier) => Resolution::Delayed(TierDelay { tier, ..delay }),
            ScheduleGrant::Attempt(_) | ScheduleGrant::Requeue => Resolution::Requeued,
        }
    }
}
