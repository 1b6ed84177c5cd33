//! What is known of a command while its delivery is in hand: from the headers at first, then from its attempts.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    domain::{
        dead_letter::DeadLetter,
        delayed::DelayedCommand,
        event::{EventContext, Failure, Timing},
        journal::AttemptHistory,
        message::Message,
        properties::header,
        reason::Reason,
        returns::{self, ReturnsDecision},
        verdict::Verdict,
    },
    ports::Delivery,
};

/// How long a command may wait in memory. Below the broker's `consumer_timeout`, which closes the channel and requeues
/// all of its unacked deliveries.
const MAX_HOLD: Duration = Duration::from_secs(300);

/// The state of one delivery, from which its event, its dead letter or its delayed copy are made.
pub(super) struct DeliveryState {
    /// When a daemon received the command for the first time.
    pub(super) first_seen: Timestamp,
    /// The message's `timestamp` property, unless it is 0.
    pub(super) produced_at: Option<Timestamp>,
    /// Attempts that count, over all deliveries of the command.
    pub(super) attempts: u32,
    /// How often an operator replayed the command.
    pub(super) replay: u32,
    /// How often the broker took the command back since its publish.
    returns: u32,
    /// How often the command was copied because of that.
    renewals: u32,
    /// `exchange/key` of the first delivery; `None` if this is the first.
    source: Option<String>,
    /// No attempt before this time.
    pub(super) not_before: Option<Timestamp>,
    received: Instant,
    /// A request before the last attempt may have reached the API without an answer.
    uncertain_before: bool,
    /// The same, including the last attempt.
    uncertain: bool,
    /// From `first_seen` to the start of the last attempt.
    waited: Option<Duration>,
    /// Duration of the last attempt.
    api: Duration,
}

impl DeliveryState {
    /// Reads what earlier deliveries left in the headers.
    pub(super) fn new(delivery: &Delivery, now: Timestamp, received: Instant) -> Self {
        let properties = &delivery.properties;
        let count = |name| properties.int(name).and_then(|int| u32::try_from(int).ok()).unwrap_or(0);
        let time = |name| properties.int(name).and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let produced_at = properties.timestamp_s.filter(|seconds| *seconds > 0);
        let produced_at = produced_at.and_then(|seconds| i64::try_from(seconds).ok());
        Self {
            first_seen: time(header::FIRST_SEEN).unwrap_or(now),
            produced_at: produced_at.and_then(|seconds| Timestamp::from_second(seconds).ok()),
            attempts: count(header::ATTEMPT),
            replay: count(header::REPLAY),
            returns: delivery.returns,
            renewals: count(header::RETURNS),
            source: properties.text(header::SOURCE).map(str::to_owned),
            not_before: time(header::NOT_BEFORE),
            received,
            uncertain_before: false,
            uncertain: properties.text(header::REASON) == Some(Reason::Uncertain.as_str()),
            waited: None,
            api: Duration::ZERO,
        }
    }

    /// What the number of returns asks for.
    pub(super) const fn returns_decision(&self) -> ReturnsDecision {
        returns::decide(self.returns, self.renewals, self.attempts)
    }

    /// Counts the copy that starts the broker's count of returns anew.
    pub(super) fn renew(&mut self) {
        self.renewals = self.renewals.saturating_add(1);
    }

    /// Until when the command may wait in memory.
    pub(super) fn hold_until(&self) -> Instant {
        self.received + MAX_HOLD
    }

    /// From the message's timestamp to the first delivery.
    pub(super) fn queue_wait(&self) -> Option<Duration> {
        self.produced_at.map(|produced_at| between(produced_at, self.first_seen))
    }

    pub(super) fn attempt_started(&mut self, now: Timestamp) {
        self.waited = Some(self.age(now));
        self.uncertain_before = self.uncertain;
    }

    pub(super) fn attempt_finished(&mut self, verdict: Verdict, latency: Duration) {
        self.api = latency;
        self.attempts = self.attempts.saturating_add(u32::from(verdict.counts_as_attempt()));
        self.uncertain |= verdict == Verdict::Uncertain;
    }

    /// Counts the attempt of a daemon that stopped before its answer.
    pub(super) fn attempt_orphaned(&mut self) {
        self.attempt_finished(Verdict::Uncertain, Duration::ZERO);
    }

    /// Takes back the last attempt: while the breaker or the brake is closed, a failure is not the command's fault.
    pub(super) fn uncount_attempt(&mut self) {
        self.attempts = self.attempts.saturating_sub(1);
    }

    /// Raises the number of attempts to that on record: a redelivered message has the headers of before its attempts.
    pub(super) fn restore_attempts(&mut self, counted: u32) {
        self.attempts = self.attempts.max(counted);
    }

    /// Adopts the attempts on record. If the record is the newest one and not older than the headers, it also has the result
    /// of an attempt beside which the copy was made.
    pub(super) fn restore_history(&mut self, history: AttemptHistory, is_newest: bool) {
        let is_known = is_newest && history.counted >= self.attempts;
        self.uncertain = history.uncertain || (self.uncertain && !is_known);
        self.restore_attempts(history.counted);
    }

    /// The attempts so far, for the journal.
    pub(super) const fn history(&self) -> AttemptHistory {
        AttemptHistory { counted: self.attempts, uncertain: self.uncertain }
    }

    /// Another delivery may have been posted.
    pub(super) fn mark_uncertain(&mut self) {
        self.uncertain = true;
    }

    /// Whether a request may have reached the API without an answer.
    pub(super) const fn is_uncertain(&self) -> bool {
        self.uncertain
    }

    /// After a success (no reason): whether the message may have arrived twice. After a failure: whether it may have
    /// arrived all the same. A malformed message was never posted.
    pub(super) const fn possible_duplicate(&self, reason: Option<Reason>) -> bool {
        match reason {
            None => self.uncertain_before,
            Some(Reason::Malformed) => false,
            Some(_) => self.uncertain,
        }
    }

    /// From the first delivery to `now`.
    pub(super) fn age(&self, now: Timestamp) -> Duration {
        between(self.first_seen, now)
    }

    fn source(&self, delivery: &Delivery) -> String {
        self.source.as_ref().unwrap_or(&delivery.source).clone()
    }

    /// The copy for a tier, with all that the next delivery must know.
    pub(super) fn delayed_command(&self, not_before: Option<Timestamp>, delivery: &Delivery) -> DelayedCommand {
        DelayedCommand {
            attempts: self.attempts,
            first_seen_ms: self.first_seen.as_millisecond(),
            not_before_ms: not_before.map(Timestamp::as_millisecond),
            uncertain: self.uncertain,
            source: self.source(delivery),
            replay: self.replay,
            // The copy is as much in doubt as the delivery.
            returns: (delivery.redelivered || self.renewals > 0).then_some(self.renewals),
        }
    }

    pub(super) fn dead_letter(&self, failure: &Failure, delivery: &Delivery) -> Message {
        let letter = DeadLetter {
            reason: failure.reason,
            http_status: failure.http_status,
            detail: failure.detail.clone(),
            attempts: self.attempts,
            first_seen_ms: self.first_seen.as_millisecond(),
            source: self.source(delivery),
            replay: self.replay,
        };
        letter.to_message(delivery.body.clone(), &delivery.properties)
    }

    /// The event's fields besides the command and its result.
    pub(super) fn event_context(&self, now: Timestamp, reason: Option<Reason>) -> EventContext {
        let total = self.age(now);
        let timing = Timing {
            waited_ms: millis(self.waited.unwrap_or(total)),
            api_ms: millis(self.api),
            total_ms: millis(total),
        };
        EventContext {
            replay: self.replay,
            occurred_at: now,
            attempts: self.attempts,
            possible_duplicate: self.possible_duplicate(reason),
            timing,
        }
    }
}

/// Never negative: a producer's clock may be ahead.
fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
