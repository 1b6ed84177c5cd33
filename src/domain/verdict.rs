//! The one decision table: what an attempt proves, and what follows.

use super::{
    command::OnUncertain,
    evidence::{Answer, Evidence},
    reason::Reason,
};

/// What an attempt proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The API took the message.
    Delivered,
    /// It certainly did not, and may later.
    Retry,
    /// It asks the whole target to wait.
    Throttled,
    /// It does not accept our credential; says nothing about the command.
    Unauthorized,
    /// It will never take this command.
    Rejected,
    /// It may or may not have taken it.
    Uncertain,
}

impl Verdict {
    /// All of them, for closed label sets.
    pub const ALL: [Self; 6] =
        [Self::Delivered, Self::Retry, Self::Throttled, Self::Unauthorized, Self::Rejected, Self::Uncertain];

    /// The word in metrics and logs.
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

    /// Whether the attempt counts against `delivery.max_attempts`: what says nothing about the command does not.
    #[must_use]
    pub const fn counts_as_attempt(self) -> bool {
        !matches!(self, Self::Throttled | Self::Unauthorized)
    }
}

/// The status lists that an installation may set; everything else in the table is fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusLists {
    /// `api.retry_statuses`: certainly not taken, may be later.
    pub retry: Vec<u16>,
    /// `api.unauthorized_statuses`: the credential is not accepted.
    pub unauthorized: Vec<u16>,
    /// `api.uncertain_statuses`: may have been taken before it failed.
    pub uncertain: Vec<u16>,
}

impl Default for StatusLists {
    fn default() -> Self {
        Self { retry: vec![408, 425, 503], unauthorized: vec![401, 403, 407], uncertain: vec![500, 502, 504] }
    }
}

impl StatusLists {
    /// Judges the evidence of one attempt.
    #[must_use]
    pub fn judge(&self, evidence: &Evidence) -> Verdict {
        match evidence {
            Evidence::NotSent(_) => Verdict::Retry,
            Evidence::NoAnswer(_) => Verdict::Uncertain,
            Evidence::Answer(answer) => self.judge_answer(answer),
        }
    }

    /// The lists come first, so that an installation can overrule the defaults below for any status but 2xx. Of the
    /// lists, `uncertain` does: what may have been taken is never sent again as if it had not. A 503 with Retry-After
    /// stands between them because 503 is in the default `retry` list.
    fn judge_answer(&self, answer: &Answer) -> Verdict {
        let listed = |list: &[u16]| list.contains(&answer.status);
        match answer.status {
            200..=299 => Verdict::Delivered,
            _ if listed(&self.uncertain) => Verdict::Uncertain,
            _ if listed(&self.unauthorized) => Verdict::Unauthorized,
            503 if answer.retry_after.is_some() => Verdict::Throttled,
            _ if listed(&self.retry) => Verdict::Retry,
            429 => Verdict::Throttled,
            300..=499 => Verdict::Rejected,
            _ => Verdict::Uncertain,
        }
    }
}

/// What the daemon does next with the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Tell `succeeded`.
    Succeed,
    /// Attempt again after the delay for this many attempts.
    Retry,
    /// The trouble is not this command's own: the gate closes, and the command waits for it; uncounted.
    Wait,
    /// Tell the reason's outcome and write the dead letter.
    DeadLetter(Reason),
}

/// What follows from a verdict, for a command that has used `attempts` attempts of `max_attempts`, this one included
/// when it counts.
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
