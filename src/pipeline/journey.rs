//! What is known of a command while it is in hand.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    domain::{
        command::CommandId,
        delayed::DelayedCommand,
        event::{EventContext, Timing},
        journal::SendKey,
        properties::header,
        reason::Reason,
        verdict::Verdict,
    },
    ports::Delivery,
};

/// A command is held in memory no longer than this; the broker would ask for it back.
const HELD_AT_MOST: Duration = Duration::from_secs(300);

/// A command's journey so far: what its event and its dead letter tell of it.
pub(super) struct Journey {
    /// When a daemon first saw it.
    pub(super) first_seen: Timestamp,
    /// When its producer made it, if the message is dated.
    pub(super) made_at: Option<Timestamp>,
    /// Counted attempts.
    pub(super) attempts: u32,
    /// How often an operator replayed it.
    pub(super) replay: u32,
    /// See [`Self::source`]; if an earlier daemon wrote it down.
    source: Option<String>,
    /// No attempt before this.
    pub(super) not_before: Option<Timestamp>,
    /// When we took it in hand.
    pub(super) received: Instant,
    /// A request that nobody can account for may have reached the API before the last attempt.
    uncertain_before: bool,
    /// The same, the last attempt included.
    uncertain_so_far: bool,
    /// From the first sight to the start of the last attempt.
    waited: Option<Duration>,
    /// The last attempt.
    api: Duration,
}

impl Journey {
    /// Reads what earlier daemons wrote into the headers.
    pub(super) fn begin(delivery: &Delivery, now: Timestamp) -> Self {
        let count = |name| delivery.properties.int(name).and_then(|int| u32::try_from(int).ok()).unwrap_or(0);
        let first_seen = delivery.properties.int(header::FIRST_SEEN);
        let made_at = delivery.properties.timestamp_s.and_then(|seconds| i64::try_from(seconds).ok());
        let not_before = delivery.properties.int(header::NOT_BEFORE);
        let parked_uncertain = delivery.properties.text(header::REASON) == Some(Reason::Uncertain.as_str());
        Self {
            first_seen: first_seen.and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(now),
            made_at: made_at.and_then(|seconds| Timestamp::from_second(seconds).ok()),
            attempts: count(header::ATTEMPT),
            replay: count(header::REPLAY),
            source: delivery.properties.text(header::SOURCE).map(str::to_owned),
            not_before: not_before.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
            received: Instant::now(),
            uncertain_before: false,
            uncertain_so_far: parked_uncertain,
            waited: None,
            api: Duration::ZERO,
        }
    }

    /// What the journal knows it by.
    pub(super) fn send(&self, command_id: &CommandId) -> SendKey {
        SendKey { command_id: command_id.clone(), replay: self.replay }
    }

    /// When it has been held in memory for long enough.
    pub(super) fn held_until(&self) -> Instant {
        self.received + HELD_AT_MOST
    }

    /// The time in the queue before we first saw it.
    pub(super) fn queued(&self) -> Option<Duration> {
        self.made_at.map(|made_at| since(made_at, self.first_seen))
    }

    /// An attempt starts.
    pub(super) fn attempt_started(&mut self, now: Timestamp) {
        self.waited = Some(self.age(now));
        self.uncertain_before = self.uncertain_so_far;
    }

    /// An attempt ended with this verdict after this time.
    pub(super) fn attempt_ended(&mut self, verdict: Verdict, took: Duration) {
        self.api = took;
        self.attempts = self.attempts.saturating_add(u32::from(verdict.counts_as_attempt()));
        self.uncertain_so_far |= verdict == Verdict::Uncertain;
    }

    /// An attempt by an owner that is gone, which could not count it any more.
    pub(super) fn attempt_orphaned(&mut self) {
        self.attempt_ended(Verdict::Uncertain, Duration::ZERO);
    }

    /// Somebody may have posted it before.
    pub(super) fn may_have_been_posted(&mut self, may: bool) {
        self.uncertain_so_far |= may;
    }

    /// While the brake is on, everything is rejected, and that is no fault of this command's.
    pub(super) fn uncount(&mut self) {
        self.attempts = self.attempts.saturating_sub(1);
    }

    /// Whether an attempt may have reached the API without an answer.
    pub(super) fn may_have_arrived(&self) -> bool {
        self.uncertain_so_far
    }

    /// What the event says: after a success, that the message may have arrived twice; after anything else, that it may
    /// have arrived all the same. A message that is no command was never posted.
    pub(super) fn possible_duplicate(&self, reason: Option<Reason>) -> bool {
        match reason {
            None => self.uncertain_before,
            Some(Reason::Malformed) => false,
            Some(_) => self.uncertain_so_far,
        }
    }

    /// From the first sight to now.
    pub(super) fn age(&self, now: Timestamp) -> Duration {
        since(self.first_seen, now)
    }

    /// `exchange/key` that it came by at first.
    pub(super) fn source(&self, delivery: &Delivery) -> String {
        self.source.as_ref().unwrap_or(&delivery.source).clone()
    }

    /// What the next attempt must know, for the copy in a tier.
    pub(super) fn parked(&self, not_before: Option<Timestamp>, delivery: &Delivery) -> DelayedCommand {
        DelayedCommand {
            attempts: self.attempts,
            first_seen_ms: self.first_seen.as_millisecond(),
            not_before_ms: not_before.map(Timestamp::as_millisecond),
            uncertain: self.uncertain_so_far,
            source: self.source(delivery),
            replay: self.replay,
        }
    }

    /// What the event tells besides the command and its ending.
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

/// Clocks of producers may be ahead of ours: never negative.
fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
