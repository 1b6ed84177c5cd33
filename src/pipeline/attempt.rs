//! Posts one command until there is an end: the loop around the decision table.

use std::{convert::Infallible, future::Future, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;

use super::{
    Pipeline, Shared,
    journey::Journey,
    keeper::Shown,
    place::{Grant, Permission, Place},
    remember::Fact,
    telling::Teller,
};
use crate::{
    domain::{
        command::{Command, OnUncertain},
        event::{CommandResult, Failure, Response},
        evidence::{Evidence, NoAnswer},
        journal::{Record, RecordedOutcome, SendKey},
        limit::Sample,
        reason::Reason,
        request,
        retry::{self, Delay},
        verdict::{self, Next, Verdict},
    },
    ports::{Clock, Delivery, Journal, Ports, Random, Sender},
    telemetry::events::{AnswerUnread, AttemptMade, AttemptOrphaned},
};

/// Early by so little is waited for in memory.
const MOMENT: Duration = Duration::from_secs(1);

/// How the work on a command ends.
pub(super) enum End {
    /// There is an outcome to tell.
    Told(CommandResult),
    /// The journal knows the outcome: it is told again, with its dead letter if that is owed.
    Known(RecordedOutcome, Option<Teller>),
    /// It waits in a tier.
    Parked(Parking),
    /// Nothing is acknowledged: the daemon shuts down, or the session that brought it is gone.
    Released,
}

/// Where and how long.
#[derive(Clone, Copy)]
pub(super) struct Parking {
    /// By its place among the tiers.
    pub(super) tier: usize,
    /// Longer than the tier.
    pub(super) not_before: Option<Timestamp>,
}

/// Uncounted, and whatever the deadline.
const SHORTEST: Parking = Parking { tier: 0, not_before: None };

/// What stops the attempts.
enum Stop {
    End(End),
    /// The deadline passed before an attempt could start.
    TooLate,
    /// It must wait in a tier, and so must all behind it.
    Away(Parking),
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

/// What the journal lets us do.
enum Claim {
    /// The attempt is ours to make; it is on record as started.
    Ours,
    /// The same, and one whose owner is gone may have reached the API.
    Orphaned,
    /// Nothing, until the journal is back.
    Unavailable,
}

/// Before the next attempt.
enum Pause {
    /// The delay that its number asks for.
    Delay,
    /// None but for the gate's.
    None,
}

/// One command at work.
struct Work<'a, P: Ports> {
    shared: &'a Shared<P>,
    delivery: &'a Delivery,
    command: &'a Command,
    journey: &'a mut Journey,
    place: &'a mut Place,
    send: SendKey,
    request: Bytes,
    deadline: Option<Timestamp>,
    on_uncertain: OnUncertain,
}

impl<P: Ports> Pipeline<P> {
    /// Works on a command until there is an end.
    pub(super) fn attempt<'a>(
        &'a self,
        delivery: &'a Delivery,
        command: &'a Command,
        journey: &'a mut Journey,
        place: &'a mut Place,
    ) -> impl Future<Output = End> + Send + 'a {
        let shared = &*self.shared;
        let mut work = Work {
            shared,
            delivery,
            command,
            send: journey.send(&command.id),
            request: Bytes::from(request::render(command, &shared.rules.descriptor_field)),
            deadline: shared.deadline(command, journey),
            on_uncertain: command.on_uncertain.unwrap_or(shared.rules.on_uncertain),
            journey,
            place,
        };
        async move {
            let winding_up = match work.attempts().await {
                Err(Stop::End(end)) => return end,
                Err(stop) => Box::pin(work.wind_up(stop)),
            };
            winding_up.await
        }
    }
}

impl<P: Ports> Work<'_, P> {
    /// Comes back only with what stops them.
    async fn attempts(&mut self) -> Result<Infallible, Stop> {
        if let Some(not_before) = self.journey.not_before {
            Box::pin(self.wait_until(not_before)).await?;
        }
        loop {
            let mut permission = self.permission().await?;
            let claim = self.claim().await?;
            let made = match claim {
                Claim::Ours if !self.may_post(&permission) => {
                    Box::pin(self.withdraw()).await?;
                    None
                }
                Claim::Ours => Some(self.post(&mut permission).await),
                Claim::Orphaned => Some((Evidence::NoAnswer(NoAnswer::OwnerGone), Verdict::Uncertain, false)),
                Claim::Unavailable => None,
            };
            // Not before the gate is closed: whoever is next must find it so.
            drop(permission);
            // Most end here. What else follows is boxed, for the sake of the many tasks that never need it.
            let pause = match made {
                Some((evidence, verdict, braked)) => Some(self.follow(&evidence, verdict, braked)?),
                None => None,
            };
            match pause {
                Some(pause) => Box::pin(self.pause(pause)).await?,
                None => Box::pin(self.shared.journal_is_back()).await?,
            }
            self.place.again();
        }
    }

    /// From what stopped them to the end.
    async fn wind_up(&mut self, mut stop: Stop) -> End {
        loop {
            stop = match stop {
                Stop::End(end) => return end,
                Stop::TooLate => self.too_late().await,
                Stop::Away(parking) => self.go_away(parking).await.into(),
            }
        }
    }

    /// Asks the journal for the attempt. What it knows already is no attempt's business any more.
    async fn claim(&mut self) -> Result<Claim, Stop> {
        let journal = self.shared.ports.journal();
        let Ok(record) = journal.start_attempt(&self.send).await else { return Ok(Claim::Unavailable) };
        match record {
            Record::Finished(ended) if !ended.letter_pending => return Err(End::Known(ended, None).into()),
            Record::Finished(ended) => {
                return Err(match self.shared.telling.begin(&self.send) {
                    Some(teller) => End::Known(ended, Some(teller)).into(),
                    // Its letter is on its way.
                    None => Stop::Away(SHORTEST),
                });
            }
            // Its owner tells the outcome; this copy comes back for it.
            Record::InProgress => return Err(Stop::Away(SHORTEST)),
            Record::Orphaned => return Ok(self.orphaned()),
            Record::Waiting { uncertain } => self.journey.may_have_been_posted(uncertain),
            // What an earlier owner of the delivery did, nobody has written down.
            Record::Unknown if self.delivery.redelivered && !journal.is_complete() => {
                if journal.is_enabled() && self.on_uncertain == OnUncertain::Park {
                    return Ok(self.orphaned());
                }
                self.journey.may_have_been_posted(true);
            }
            Record::Unknown => {}
        }
        Ok(Claim::Ours)
    }

    fn orphaned(&mut self) -> Claim {
        self.journey.attempt_orphaned();
        self.shared.telemetry.record(AttemptOrphaned { command_id: &self.command.id });
        Claim::Orphaned
    }

    /// Looks again: the journal may have taken its time.
    fn may_post(&self, permission: &Permission) -> bool {
        !self.has_passed(Duration::ZERO) && self.shared.keeper.allows(permission.is_probe())
    }

    /// Gives the claim back: nothing was sent.
    async fn withdraw(&mut self) -> Result<(), Stop> {
        self.release().await;
        if self.has_passed(Duration::ZERO) { Err(Stop::TooLate) } else { Ok(()) }
    }

    /// Every attempt so far is accounted for, and more may follow.
    async fn release(&self) {
        let uncertain = self.journey.may_have_arrived();
        self.shared.remember(&self.send, &Fact::Released { uncertain }).await;
    }

    /// Makes one attempt, and tells whether the brake makes its rejection void.
    async fn post(&mut self, permission: &mut Permission) -> (Evidence, Verdict, bool) {
        let shared = self.shared;
        let in_flight = shared.telemetry.in_flight();
        self.journey.attempt_started(shared.ports.clock().now());
        let (evidence, took) = shared.ports.sender().send(&self.request).await;
        drop(in_flight);
        let verdict = shared.rules.statuses.judge(&evidence);
        self.journey.attempt_ended(verdict, took);
        permission.answered(took, sample(verdict));
        let command_id = &self.command.id;
        shared.telemetry.record(AttemptMade { command_id, verdict, evidence: &evidence, took });
        let braked = shared.keeper.judge(Shown { verdict, by_probe: permission.is_probe(), evidence: &evidence });
        (evidence, verdict, braked)
    }

    /// What follows from an attempt: an end, or whether there is a delay before the next one.
    fn follow(&mut self, evidence: &Evidence, verdict: Verdict, braked: bool) -> Result<Pause, Stop> {
        let attempts = self.journey.attempts;
        let mut next = verdict::next(verdict, attempts, self.shared.rules.max_attempts, self.on_uncertain);
        if braked && next == Next::DeadLetter(Reason::Rejected) {
            self.journey.uncount();
            next = Next::Wait;
        }
        match next {
            Next::Succeed => Err(End::Told(self.succeeded(evidence)).into()),
            Next::DeadLetter(reason) => Err(End::Told(buried(reason, evidence, attempts)).into()),
            Next::Retry => Ok(Pause::Delay),
            Next::Wait => Ok(Pause::None),
        }
    }

    /// Between two attempts.
    async fn pause(&self, pause: Pause) -> Result<(), Stop> {
        self.release().await;
        match pause {
            Pause::Delay => self.delay().await,
            Pause::None => Ok(()),
        }
    }

    /// What came back from a tier too early goes to one again, uncounted; or waits here for a moment.
    async fn wait_until(&self, not_before: Timestamp) -> Result<(), Stop> {
        let early = Duration::try_from(not_before.duration_since(self.shared.ports.clock().now())).unwrap_or_default();
        if early > MOMENT {
            return Err(self.away(self.shared.rules.tiers.longest_within(early), Some(not_before)));
        }
        Ok(self.shared.wait(early).await?)
    }

    /// The delay before the next attempt: in memory, or in a tier.
    async fn delay(&self) -> Result<(), Stop> {
        match retry::delay_after(self.journey.attempts, self.shared.ports.random().random_unit()) {
            Delay::InProcess(wait) if self.has_passed(wait) => Err(Stop::TooLate),
            Delay::InProcess(wait) => Ok(self.shared.wait(wait).await?),
            Delay::InTier(turn) => Err(self.away(self.shared.rules.tiers.for_turn(turn), None)),
        }
    }

    /// A command whose deadline is nearer than the tier's end is not sent there to expire.
    fn away(&self, tier: usize, not_before: Option<Timestamp>) -> Stop {
        if self.expires_in(tier) { Stop::TooLate } else { Stop::Away(Parking { tier, not_before }) }
    }

    /// For the longest tier that fits into what is known of the wait.
    fn leave_memory(&self) -> Stop {
        self.away(self.shared.rules.tiers.longest_within(self.shared.keeper.wait()), None)
    }

    fn expires_in(&self, tier: usize) -> bool {
        self.shared.rules.tiers.get(tier).is_some_and(|tier| self.has_passed(tier.length))
    }

    /// Waits for its turn to be copied to the tier: those before it go first.
    async fn go_away(&mut self, parking: Parking) -> End {
        self.place.send_away(parking.tier);
        match self.place.granted().await {
            Grant::Park(tier) => End::Parked(Parking { tier, ..parking }),
            Grant::Attempt(_) | Grant::Release => End::Released,
        }
    }

    /// The right to make an attempt, unless it comes too late.
    async fn permission(&mut self) -> Result<Permission, Stop> {
        let Self { shared, place, deadline, journey, .. } = self;
        tokio::select! {
            biased;
            // Not even the gate holds back the news that it is too late.
            () = shared.passes(*deadline) => Err(Stop::TooLate),
            grant = place.granted() => match grant {
                Grant::Attempt(permission) => Ok(permission),
                Grant::Park(tier) if self.expires_in(tier) => Err(Stop::TooLate),
                // One before it waits in a tier.
                Grant::Park(tier) => Err(End::Parked(Parking { tier, not_before: None }).into()),
                Grant::Release => Err(End::Released.into()),
            },
            // The queue is the better place to wait for long.
            () = tokio::time::sleep_until(journey.held_until()) => Err(self.leave_memory()),
        }
    }

    /// The outcome is `expired`, unless the journal knows another one, or an attempt that nobody can account for is to be
    /// looked at by a person.
    async fn too_late(&mut self) -> Stop {
        loop {
            match self.claim().await {
                Err(stop) => return stop,
                Ok(Claim::Unavailable) => {
                    if let Err(end) = self.shared.journal_is_back().await {
                        return end.into();
                    }
                }
                Ok(Claim::Orphaned) if self.on_uncertain == OnUncertain::Park => {
                    let evidence = Evidence::NoAnswer(NoAnswer::OwnerGone);
                    return End::Told(buried(Reason::Uncertain, &evidence, self.journey.attempts)).into();
                }
                Ok(Claim::Ours | Claim::Orphaned) => return End::Told(expired(self.journey)).into(),
            }
        }
    }

    /// A 2xx is delivered whatever its body says.
    fn succeeded(&self, evidence: &Evidence) -> CommandResult {
        let body = match evidence {
            Evidence::Answer(answer) => answer.body.as_deref(),
            Evidence::NotSent(_) | Evidence::NoAnswer(_) => None,
        };
        let response = body.and_then(Response::parse);
        if response.is_none() {
            self.shared.telemetry.record(AnswerUnread { command_id: &self.command.id });
        }
        CommandResult::Succeeded(response)
    }

    /// Whether the deadline will have passed after this wait.
    fn has_passed(&self, wait: Duration) -> bool {
        let then = self.shared.ports.clock().now().checked_add(wait);
        self.deadline.is_some_and(|deadline| then.is_ok_and(|then| then > deadline))
    }
}

/// What a verdict says about the API's load.
const fn sample(verdict: Verdict) -> Sample {
    match verdict {
        Verdict::Delivered => Sample::Delivered,
        Verdict::Throttled => Sample::Overload,
        Verdict::Retry | Verdict::Uncertain => Sample::Failed,
        Verdict::Rejected | Verdict::Unauthorized => Sample::Neutral,
    }
}

fn expired(journey: &Journey) -> CommandResult {
    let detail = match journey.may_have_arrived() {
        true => "the deadline passed before another attempt could start; an earlier one may have reached the API",
        false => "the deadline passed before an attempt could start",
    };
    CommandResult::Failed(Failure { reason: Reason::Expired, http_status: None, detail: detail.into() })
}

fn buried(reason: Reason, evidence: &Evidence, attempts: u32) -> CommandResult {
    let detail = match reason {
        Reason::Exhausted => format!("{attempts} attempts, the last: {evidence}"),
        _ => evidence.to_string(),
    };
    CommandResult::Failed(Failure { reason, http_status: evidence.status(), detail: detail.into() })
}
