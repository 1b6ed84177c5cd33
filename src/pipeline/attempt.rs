//! Makes the attempts of one command until it has a resolution: the loop around the decision table.

mod claim;
mod context;
mod delay;
mod result;

use std::{convert::Infallible, future::Future, time::Duration};

use bytes::Bytes;

use self::{claim::ClaimResult, context::AttemptContext};
use super::{
    api_health::AttemptResult,
    command_in_hand::CommandInHand,
    context::PipelineContext,
    delivery_state::DeliveryState,
    resolution::{AttemptExit, Resolution, TierDelay},
    schedule_handle::{AttemptPermit, ScheduleGrant, ScheduleHandle},
};
use crate::{
    domain::{
        command::OnUncertain,
        event::CommandResult,
        evidence::{Evidence, NoAnswer},
        reason::Reason,
        request,
        verdict::{self, Next, Verdict},
    },
    ports::{Ports, Sender},
    telemetry::events::{AnswerUnread, AttemptMade},
};

/// The wait before the next attempt.
enum RetryWait {
    /// The delay for the number of attempts.
    Backoff,
    /// Until the gate opens.
    Gate,
}

/// What an attempt proved.
struct Attempted {
    evidence: Evidence,
    verdict: Verdict,
    /// The breaker or the brake was closed: the failure proves nothing about the command.
    is_excused: bool,
}

/// Attempts a command until it has a resolution.
///
/// Not an `async fn`: its future holds the arguments once.
pub(super) fn resolve<'a, P: Ports>(
    pipeline: &'a PipelineContext<P>,
    in_hand: &'a mut CommandInHand,
    handle: &'a mut ScheduleHandle,
) -> impl Future<Output = Resolution> + Send + 'a {
    let mut context = AttemptContext::new(pipeline, in_hand, handle);
    async move {
        let resolving = match context.attempt_until_exit().await {
            Err(AttemptExit::Resolved(resolution)) => return resolution,
            // Boxed: most commands never need it.
            Err(exit) => Box::pin(context.resolve_exit(exit)),
        };
        resolving.await
    }
}

impl<P: Ports> AttemptContext<'_, P> {
    async fn attempt_until_exit(&mut self) -> Result<Infallible, AttemptExit> {
        if self.in_hand.needs_doubt_record {
            Box::pin(self.record_doubt()).await?;
        }
        self.check_returns()?;
        if let Some(not_before) = self.in_hand.state.not_before {
            Box::pin(self.wait_until(not_before)).await?;
        }
        loop {
            let mut permit = self.permit().await?;
            // Bound first: a temporary of the match would live across the POST.
            let claim = self.claim().await?;
            let attempted = match claim {
                ClaimResult::Granted if !self.may_post(&permit) => {
                    Box::pin(self.abandon_claim()).await?;
                    None
                }
                ClaimResult::Granted => Some(self.post(&mut permit).await),
                ClaimResult::Orphaned => Some(Attempted {
                    evidence: Evidence::NoAnswer(NoAnswer::OwnerGone),
                    verdict: Verdict::Uncertain,
                    is_excused: false,
                }),
                ClaimResult::Unavailable => None,
            };
            // Not before the result is recorded: the next attempt must find the gate closed if this one closed it.
            drop(permit);
            let wait = match attempted {
                Some(attempted) => Some(self.next_step(&attempted)?),
                None => None,
            };
            // Boxed: most commands end with their first attempt.
            match wait {
                Some(wait) => Box::pin(self.finish_and_wait(wait)).await?,
                None => Box::pin(self.pipeline.journal_available()).await?,
            }
            self.handle.request_attempt();
        }
    }

    /// Waits for the permit of one attempt. The deadline and the time limit in memory apply while the gate is closed, too.
    async fn permit(&mut self) -> Result<AttemptPermit, AttemptExit> {
        let Self { pipeline, handle, deadline, in_hand, .. } = self;
        tokio::select! {
            biased;
            () = deadline.passed(pipeline.ports.clock()) => Err(AttemptExit::DeadlinePassed),
            grant = handle.granted() => match grant {
                ScheduleGrant::Attempt(permit) => Ok(permit),
                ScheduleGrant::Delay(tier) if self.expires_in_tier(tier) => Err(AttemptExit::DeadlinePassed),
                // A command before this one waits in the tier.
                ScheduleGrant::Delay(tier) => Err(Resolution::Delayed(TierDelay { tier, not_before: None }).into()),
                ScheduleGrant::Requeue => Err(Resolution::Requeued.into()),
            },
            () = tokio::time::sleep_until(in_hand.state.hold_until()) => Err(self.delay_after_max_hold()),
        }
    }

    /// Checks again after the journal's write, which may have taken long.
    fn may_post(&self, permit: &AttemptPermit) -> bool {
        !self.expires_within(Duration::ZERO) && self.pipeline.api_health.allows(permit.is_probe())
    }

    /// Makes one attempt.
    async fn post(&mut self, permit: &mut AttemptPermit) -> Attempted {
        let pipeline = self.pipeline;
        let CommandInHand { command, state, .. } = &mut *self.in_hand;
        let (in_flight, started) = (pipeline.telemetry.in_flight(), pipeline.now());
        let (evidence, latency) = {
            // Rendered for each attempt: a command that waits does not hold its text twice.
            let request = Bytes::from(request::render(command, &pipeline.settings.descriptor_field));
            pipeline.ports.sender().send(&request).await
        };
        drop(in_flight);
        let verdict = pipeline.settings.statuses.classify(&evidence);
        if evidence.is_of_attempt() {
            state.attempt_started(started);
            state.attempt_finished(verdict, latency);
            permit.set_result(latency, result::load_sample(verdict));
            let command_id = &command.id;
            pipeline.telemetry.record(AttemptMade { command_id, verdict, evidence: &evidence, took: latency });
        }
        let candidate = self.in_hand.probe_candidate(self.on_uncertain);
        let (is_probe, now) = (permit.is_probe(), pipeline.monotonic());
        let result = AttemptResult { verdict, evidence: &evidence, candidate, is_probe, now };
        let is_excused = pipeline.api_health.record(result);
        Attempted { evidence, verdict, is_excused }
    }

    /// Applies the decision table: a result, or the wait before the next attempt.
    fn next_step(&mut self, attempted: &Attempted) -> Result<RetryWait, AttemptExit> {
        let Attempted { evidence, verdict, is_excused } = attempted;
        let attempts = self.in_hand.state.attempts;
        let mut next = verdict::next(*verdict, attempts, self.pipeline.settings.max_attempts, self.on_uncertain);
        // With the policy `park` an uncertain attempt is the last one, whatever it is due to.
        if *is_excused && verdict.counts_as_attempt() && next != Next::DeadLetter(Reason::Uncertain) {
            self.in_hand.state.uncount_attempt();
            next = Next::Wait;
        }
        match next {
            Next::Succeed => Err(Resolution::Finished(self.succeeded(evidence)).into()),
            Next::DeadLetter(reason) => Err(Resolution::Finished(result::failed(reason, evidence, attempts)).into()),
            Next::Retry => Ok(RetryWait::Backoff),
            Next::Wait => Ok(RetryWait::Gate),
        }
    }

    fn succeeded(&self, evidence: &Evidence) -> CommandResult {
        let response = result::response(evidence);
        if let Err(why) = response {
            self.pipeline.telemetry.record(AnswerUnread { command_id: &self.in_hand.command.id, why });
        }
        CommandResult::Succeeded(response.ok())
    }

    async fn finish_and_wait(&self, wait: RetryWait) -> Result<(), AttemptExit> {
        self.finish_attempt().await;
        match wait {
            RetryWait::Backoff => self.backoff().await,
            RetryWait::Gate => Ok(()),
        }
    }

    async fn resolve_exit(&mut self, mut exit: AttemptExit) -> Resolution {
        loop {
            exit = match exit {
                AttemptExit::Resolved(resolution) => return resolution,
                AttemptExit::DeadlinePassed => self.end_unattempted(result::expired).await,
                AttemptExit::Poisoned => self.end_unattempted(result::poisoned).await,
                AttemptExit::Delay(delay) => self.request_delay(delay).await.into(),
            }
        }
    }

    /// Ends with this result, unless the journal holds an outcome, or an orphaned attempt whose policy is `park`.
    async fn end_unattempted(&mut self, result: fn(&DeliveryState) -> CommandResult) -> AttemptExit {
        loop {
            match self.claim().await {
                Err(exit) => return exit,
                Ok(ClaimResult::Unavailable) => {
                    if let Err(resolution) = self.pipeline.journal_available().await {
                        return resolution.into();
                    }
                }
                Ok(ClaimResult::Orphaned) if self.on_uncertain == OnUncertain::Park => {
                    let evidence = Evidence::NoAnswer(NoAnswer::OwnerGone);
                    let attempts = self.in_hand.state.attempts;
                    return Resolution::Finished(result::failed(Reason::Uncertain, &evidence, attempts)).into();
                }
                Ok(ClaimResult::Granted | ClaimResult::Orphaned) => {
                    return Resolution::Finished(result(&self.in_hand.state)).into();
                }
            }
        }
    }
}
