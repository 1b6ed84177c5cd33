//! The results that attempts lead to, and what a verdict means for the concurrency limit.

use crate::{
    domain::{
        event::{CommandResult, Failure, Response, UnreadReason},
        evidence::Evidence,
        limit::Sample,
        reason::Reason,
        verdict::Verdict,
    },
    pipeline::delivery_state::DeliveryState,
};

/// The response in a 2xx answer, or why its body has none.
pub(super) fn response(evidence: &Evidence) -> Result<Response, UnreadReason> {
    match evidence {
        // Without a body it was too long or broke off.
        Evidence::Answer(answer) => answer.body.as_deref().map_or(Err(UnreadReason::NotJson), Response::parse),
        Evidence::NotSent(_) | Evidence::NoToken(_) | Evidence::NoAnswer(_) => Err(UnreadReason::Empty),
    }
}

pub(super) fn expired(state: &DeliveryState) -> CommandResult {
    let detail = if state.is_uncertain() {
        "the deadline passed before another attempt could start; an earlier one may have reached the API"
    } else {
        "the deadline passed before an attempt could start"
    };
    CommandResult::Failed(Failure { reason: Reason::Expired, http_status: None, detail: detail.into() })
}

pub(super) fn poisoned(_: &DeliveryState) -> CommandResult {
    let detail = "lost broker sessions returned the command to the queue too often".into();
    CommandResult::Failed(Failure { reason: Reason::Poison, http_status: None, detail })
}

pub(super) fn failed(reason: Reason, evidence: &Evidence, attempts: u32) -> CommandResult {
    let detail = match reason {
        Reason::Exhausted => format!("{attempts} attempts, the last: {evidence}"),
        _ => evidence.to_string(),
    };
    CommandResult::Failed(Failure { reason, http_status: evidence.status(), detail: detail.into() })
}

/// What a verdict shows of the API's load.
pub(super) const fn load_sample(verdict: Verdict) -> Sample {
    match verdict {
        Verdict::Delivered => Sample::Delivered,
        Verdict::Throttled => Sample::Overload,
        Verdict::Retry | Verdict::Uncertain => Sample::Failed,
        Verdict::Rejected | Verdict::Unauthorized => Sample::Neutral,
    }
}
