//! The decision table, row by row.

use std::time::Duration;

use Verdict::{Delivered, Rejected, Retry, Throttled, Unauthorized, Uncertain};

use super::*;
use crate::domain::evidence::{NoAnswer, NotSent};

const WAIT: Option<Duration> = Some(Duration::from_secs(7));

fn answer(status: u16, retry_after: Option<Duration>) -> Evidence {
    Evidence::Answer(Answer { status, retry_after, body: None })
}

/// The default table without `Retry-After`, written independently of the code under test.
fn expected_verdict(status: u16) -> Verdict {
    match status {
        200..300 => Delivered,
        408 | 425 | 503 => Retry,
        429 => Throttled,
        401 | 403 | 407 => Unauthorized,
        300..500 => Rejected,
        _ => Uncertain,
    }
}

#[test]
fn classify_each_status_has_its_verdict() {
    let lists = StatusLists::default();
    for status in 100..=599 {
        assert_eq!(lists.classify(&answer(status, None)), expected_verdict(status), "{status}");
    }
    let named = [
        (Rejected, [400, 404, 405, 409, 410, 413, 415, 422, 301, 302, 304, 307, 451]),
        (Uncertain, [500, 501, 502, 504, 505, 507, 508, 511, 520, 522, 524, 599, 101]),
    ];
    for (verdict, statuses) in named {
        for status in statuses {
            assert_eq!(lists.classify(&answer(status, None)), verdict, "{status}");
        }
    }
}

#[test]
fn classify_retry_after_changes_only_503() {
    let lists = StatusLists::default();
    for status in 100..=599 {
        let verdict = if status == 503 { Throttled } else { expected_verdict(status) };
        assert_eq!(lists.classify(&answer(status, WAIT)), verdict, "{status}");
    }
}

#[test]
fn classify_no_answer_depends_on_whether_request_left() {
    let lists = StatusLists::default();
    for cause in [NotSent::Connect, NotSent::Dns, NotSent::Tls, NotSent::Proxy("http://p:1: refused".into())] {
        assert_eq!(lists.classify(&Evidence::NotSent(cause.clone())), Retry, "{cause:?}");
    }
    for cause in [NoAnswer::Timeout, NoAnswer::Broken] {
        assert_eq!(lists.classify(&Evidence::NoAnswer(cause)), Uncertain, "{cause:?}");
    }
}

#[test]
fn classify_lists_override_every_status_but_2xx() {
    let statuses = || (100..200).chain(300..600);
    let only = |list: fn(&mut StatusLists) -> &mut Vec<u16>| {
        let mut lists = StatusLists { retry: vec![], unauthorized: vec![], uncertain: vec![] };
        *list(&mut lists) = (100..600).collect();
        lists
    };
    let rows = [
        (only(|lists| &mut lists.uncertain), Uncertain),
        (only(|lists| &mut lists.unauthorized), Unauthorized),
        (only(|lists| &mut lists.retry), Retry),
    ];
    for (lists, verdict) in rows {
        for status in statuses() {
            assert_eq!(lists.classify(&answer(status, None)), verdict, "{status}");
        }
        for status in 200..300 {
            assert_eq!(lists.classify(&answer(status, WAIT)), Delivered, "{status}");
        }
    }
}

/// Otherwise a message that may have been accepted would be resent as if it had not.
#[test]
fn classify_uncertain_list_precedes_all_others() {
    let all: Vec<u16> = (100..600).collect();
    let lists = StatusLists { retry: all.clone(), unauthorized: all.clone(), uncertain: all };
    for status in (100..200).chain(300..600) {
        for retry_after in [None, WAIT] {
            assert_eq!(lists.classify(&answer(status, retry_after)), Uncertain, "{status}");
        }
    }
}

#[test]
fn classify_unauthorized_list_precedes_retry_list() {
    let lists = StatusLists { retry: vec![401, 503], unauthorized: vec![401, 503], uncertain: vec![] };
    for (status, retry_after) in [(401, None), (503, None), (503, WAIT)] {
        assert_eq!(lists.classify(&answer(status, retry_after)), Unauthorized, "{status}");
    }
}

#[test]
fn classify_empty_lists_leave_the_fixed_rows() {
    let lists = StatusLists { retry: vec![], unauthorized: vec![], uncertain: vec![] };
    for (status, verdict) in
        [(408, Rejected), (401, Rejected), (429, Throttled), (503, Uncertain), (500, Uncertain), (204, Delivered)]
    {
        assert_eq!(lists.classify(&answer(status, None)), verdict, "{status}");
    }
}

#[test]
fn next_each_verdict_has_its_consequence() {
    use OnUncertain::{Park, Resend};
    let exhausted = Next::DeadLetter(Reason::Exhausted);
    let rows = [
        (Delivered, 1, Resend, Next::Succeed),
        (Delivered, 9, Park, Next::Succeed),
        (Retry, 1, Resend, Next::Retry),
        (Retry, 7, Park, Next::Retry),
        (Retry, 8, Resend, exhausted),
        (Retry, 9, Resend, exhausted),
        (Throttled, 0, Resend, Next::Wait),
        (Throttled, 8, Park, Next::Wait),
        (Unauthorized, 0, Resend, Next::Wait),
        (Unauthorized, 8, Park, Next::Wait),
        (Rejected, 1, Resend, Next::DeadLetter(Reason::Rejected)),
        (Rejected, 8, Park, Next::DeadLetter(Reason::Rejected)),
        (Uncertain, 1, Resend, Next::Retry),
        (Uncertain, 8, Resend, exhausted),
        (Uncertain, 1, Park, Next::DeadLetter(Reason::Uncertain)),
        (Uncertain, 8, Park, Next::DeadLetter(Reason::Uncertain)),
    ];
    for (verdict, attempts, on_uncertain, expected) in rows {
        let row = format!("{verdict:?} after {attempts} of 8 with {on_uncertain:?}");
        assert_eq!(next(verdict, attempts, 8, on_uncertain), expected, "{row}");
    }
}

#[test]
fn counts_as_attempt_only_verdicts_about_the_command() {
    let counting: Vec<_> = Verdict::ALL.into_iter().filter(|verdict| verdict.counts_as_attempt()).collect();
    assert_eq!(counting, [Delivered, Retry, Rejected, Uncertain]);
}
