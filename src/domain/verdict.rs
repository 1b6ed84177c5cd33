//! The decision table: what an attempt proves (its [`Verdict`]), and what follows ([`Next`]).
//!
//! This is the only place that decides whether a command is POSTed again. Pure and total: every evidence has exactly
//! one verdict, every verdict exactly one consequence.
//!
//! | evidence | verdict | next |
//! |---|---|---|
//! | 2xx | delivered | event `succeeded` |
//! | no connection established; 408, 425, 503 | retry | another attempt, or dead letter `exhausted` |
//! | 429; 503 with `Retry-After` | throttled | wait, uncounted |
//! | 401, 403, 407; no token, because the login failed | unauthorized | wait, uncounted |
//! | other 4xx, 3xx | rejected | dead letter `rejected` |
//! | no answer; 500, 502, 504, any other status | uncertain | `resend`: as retry; `park`: dead letter `uncertain` |
//!
//! The lists of 408…, 401… and 500… are settings ([`StatusLists`]). A resent uncertain command carries
//! `possibleDuplicate` in its event.
//!
//! # Invariants
//!
//! - A 2xx is always delivered; no setting changes that.
//! - Evidence that allows for a delivered message is uncertain, never retry: the API has no idempotency key and no
//!   status query, so a second POST may be a second message.
//! - Of the status lists, `uncertain` takes precedence over `unauthorized`, and that over `retry`.
//! - Only verdicts about the command count as attempts: throttled and unauthorized ones do not.
//!
//! # Sources
//!
//! RFC 9110 for the status classes and `Retry-After`, RFC 6585 for 429, RFC 8470 for 425.

use super::{
    command::OnUncertain,
    evidence::{Answer, Evidence},
    reason::Reason,
};

/// What an attempt proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The API accepted the message.
    Delivered,
    /// The API did not accept the message; a later attempt may succeed.
    Retry,
    /// The API requests a pause of the whole target.
    Throttled,
    /// The API does not accept the credential; this proves nothing about the command.
    Unauthorized,
    /// The API will never accept this command.
    Rejected,
    /// The API may have accepted the message.
    Uncertain,
}

impl Verdict {
    /// All verdicts, for closed label sets.
    pub const ALL: [Self; 6] =
        [Self::Delivered, Self::Retry, Self::Throttled, Self::Unauthorized, Self::Rejected, Self::Uncertain];

    /// Returns the name in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry => "retry",
            Self::Throttled => "throttled",
            Self::Unauthorized => "unauthorized",
            Self::Rejected => "rejected",
            Self::Uncertain => "uncertain",
        }
    }

    /// Whether the attempt counts against `delivery.max_attempts`.
    #[must_use]
    pub const fn counts_as_attempt(self) -> bool {
        !matches!(self, Self::Throttled | Self::Unauthorized)
    }
}

/// The configurable part of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusLists {
    /// `api.retry_statuses`: not accepted, a later attempt may succeed.
    pub retry: Vec<u16>,
    /// `api.unauthorized_statuses`: the credential is not accepted.
    pub unauthorized: Vec<u16>,
    /// `api.uncertain_statuses`: the message may have been accepted before the failure.
    pub uncertain: Vec<u16>,
}

impl Default for StatusLists {
    fn default() -> Self {
        Self { retry: vec![408, 425, 503], unauthorized: vec![401, 403, 407], uncertain: vec![500, 502, 504] }
    }
}

impl StatusLists {
    /// Returns the verdict on the evidence of one attempt.
    #[must_use]
    pub fn classify(&self, evidence: &Evidence) -> Verdict {
        match evidence {
            Evidence::NotSent(_) => Verdict::Retry,
            Evidence::NoToken(_) => Verdict::Unauthorized,
            Evidence::NoAnswer(_) => Verdict::Uncertain,
            Evidence::Answer(answer) => self.classify_answer(answer),
        }
    }

    /// The lists precede the fixed rows, so that they can override them for any status but 2xx. The row of 503 with
    /// `Retry-After` precedes the `retry` list, which contains 503 by default.
    fn classify_answer(&self, answer: &Answer) -> Verdict {
        let is_in = |list: &[u16]| list.contains(&answer.status);
        match answer.status {
            200..=299 => Verdict::Delivered,
            _ if is_in(&self.uncertain) => Verdict::Uncertain,
            _ if is_in(&self.unauthorized) => Verdict::Unauthorized,
            503 if answer.retry_after.is_some() => Verdict::Throttled,
            _ if is_in(&self.retry) => Verdict::Retry,
            429 => Verdict::Throttled,
            300..=499 => Verdict::Rejected,
            _ => Verdict::Uncertain,
        }
    }
}

/// What follows from a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Publish the event `succeeded`.
    Succeed,
    /// Attempt again, after the delay that belongs to the number of attempts.
    Retry,
    /// Close the gate and attempt again when it opens, uncounted: the cause is not the command.
    Wait,
    /// Publish the event and the dead letter of this reason.
    DeadLetter(Reason),
}

/// Returns what follows from a verdict. `attempts` are the counted ones, including this one if it counts.
#[must_use]
pub fn next(verdict: Verdict, attempts: u32, max_attempts: u32, on_uncertain: OnUncertain) -> Next {
    let retry = if attempts < max_attempts { Next::Retry } else { Next::DeadLetter(Reason::Exhausted) };
    match verdict {
        Verdict::Delivered => Next::Succeed,
        Verdict::Retry => retry,
        Verdict::Throttled | Verdict::Unauthorized => Next::Wait,
        Verdict::Rejected => Next::DeadLetter(Reason::Rejected),
        Verdict::Uncertain if on_uncertain == OnUncertain::Park => Next::DeadLetter(Reason::Uncertain),
        Verdict::Uncertain => retry,
    }
}

#[cfg(test)]
mod tests;
