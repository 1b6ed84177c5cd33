//! Tests of the soak's account: what the contract forbids is found, and what a fault justifies is not.
#![cfg(test)] // Makes clippy treat this target as test code.

mod account;
#[expect(dead_code, reason = "used in full by the soak")]
mod doubt;
#[expect(dead_code, reason = "used in full by the soak")]
mod kind;
mod ledger;

use jiff::Timestamp;
use serde_json::json;

use self::{
    account::Account,
    doubt::{Effects, Site},
    kind::Kind,
    ledger::{Culprit, Ledger, Post},
};

const MAX_ATTEMPTS: u64 = 20;
const SITE: Site = Site::File;
const OTHER: Site = Site::Redis;

/// When everything happens to the command, in ms.
const PUBLISHED: u64 = 10_000;
const TOLD: u64 = 20_000;

/// A ledger with the command 7.
struct Case(Ledger);

impl Case {
    fn new(kind: Kind) -> Self {
        let mut ledger = Ledger::default();
        let body = json!({ "commandId": "c-7-0", "metadata": { "n": 7 } }).to_string();
        ledger.add_command(7, SITE, kind, body);
        ledger.add_publish(7, PUBLISHED);
        Self(ledger)
    }

    fn post(mut self, status: Option<u16>) -> Self {
        let accepted = status.is_none_or(|status| status == 200);
        self.0.add_post(Some("7 hello"), Post { at_ms: PUBLISHED, status, accepted });
        self
    }

    fn event(self, outcome: &str, reason: Option<&str>) -> Self {
        self.any_event(outcome, reason, false, false, TOLD)
    }

    fn doubtful(self, outcome: &str, reason: Option<&str>) -> Self {
        self.any_event(outcome, reason, true, false, TOLD)
    }

    fn any_event(
        mut self,
        outcome: &str,
        reason: Option<&str>,
        possible_duplicate: bool,
        repeated: bool,
        at_ms: u64,
    ) -> Self {
        let start = Timestamp::UNIX_EPOCH;
        let occurred = Timestamp::from_millisecond(i64::try_from(TOLD).expect("fits")).expect("a time");
        let event = json!({
            "eventId": format!("id of {outcome}"), "commandId": "c-7-0", "outcome": outcome,
            "occurredAt": occurred.to_string(), "attempts": 1, "possibleDuplicate": possible_duplicate,
            "repeated": repeated, "failure": reason.map(|reason| json!({ "reason": reason })),
        });
        self.0.add_event(SITE, &event, at_ms, start);
        self
    }

    fn letter(mut self, reason: &str) -> Self {
        self.0.add_letter(SITE, reason, br#"{"commandId": "c-7-0"}"#, TOLD);
        self
    }

    fn disturbed(mut self, site: Site, effects: Effects, (from_ms, to_ms): (u64, u64)) -> Self {
        let number = self.0.disturbances.begin(Some(site), effects, "a fault".to_owned(), from_ms);
        self.0.disturbances.end(number, to_ms);
        self
    }

    /// Asserts that the only finding has this in its text.
    #[track_caller]
    fn finds(&self, expected: &str) {
        let account = Account::new(&self.0, MAX_ATTEMPTS);
        let findings = account.findings();
        let texts: Vec<_> = findings.iter().map(|finding| account.explain(finding)).collect();
        assert!(texts.len() == 1 && texts[0].contains(expected), "expected {expected:?}: {texts:#?}");
    }

    #[track_caller]
    fn finds_nothing(&self) {
        let findings = Account::new(&self.0, MAX_ATTEMPTS).findings();
        assert!(findings.is_empty(), "{findings:?}");
    }
}

/// Between the publish and the event.
const DURING: (u64, u64) = (15_000, 16_000);
const BEFORE: (u64, u64) = (1_000, 2_000);

#[test]
fn command_with_one_outcome_is_in_order() {
    Case::new(Kind::Plain).post(Some(200)).event("succeeded", None).finds_nothing();
    let rejected = Case::new(Kind::Rejected).post(Some(400)).event("failed", Some("rejected"));
    rejected.letter("rejected").finds_nothing();
    let retried = Case::new(Kind::Retried).post(Some(503)).post(Some(503)).post(Some(200));
    retried.event("succeeded", None).finds_nothing();
}

#[test]
fn missing_outcome_is_found_with_history() {
    let case = Case::new(Kind::Plain).post(Some(503)).disturbed(SITE, Effects::CRASH, DURING);
    case.finds("no outcome");
    case.finds("POST at 10000: status Some(503)");
    case.finds("15000 to 16000: a fault");
    assert_eq!(case.0.unfinished(SITE, u64::MAX), [7]);
}

#[test]
fn forbidden_outcome_is_found() {
    let case = || Case::new(Kind::Plain).post(Some(503));
    case().event("failed", Some("exhausted")).letter("exhausted").finds("outcome failed");
    case().event("failed", Some("poison")).letter("poison").finds("outcome failed");
    case().event("expired", Some("expired")).letter("expired").finds("outcome expired");
}

#[test]
fn second_outcome_is_found_unless_records_are_lost() {
    let case = || Case::new(Kind::Parked).post(Some(200)).event("succeeded", None).letter("uncertain");
    let both = || case().disturbed(SITE, Effects::CRASH, DURING).doubtful("uncertain", Some("uncertain"));
    both().finds("2 outcomes");
    both().disturbed(SITE, Effects::JOURNAL_LOSS, DURING).finds_nothing();
}

#[test]
fn second_telling_is_found_unless_repeated_or_disturbed() {
    let case = || Case::new(Kind::Plain).post(Some(200)).event("succeeded", None);
    case().any_event("succeeded", None, false, true, TOLD + 9_000).finds_nothing();
    let again = || case().any_event("succeeded", None, false, false, TOLD + 9_000);
    again().finds("again at 29000 without `repeated`");
    again().disturbed(SITE, Effects::REDELIVERY, (TOLD + 8_000, TOLD + 8_100)).finds_nothing();
    again().disturbed(OTHER, Effects::REDELIVERY, (TOLD + 8_000, TOLD + 8_100)).finds("again at 29000");
    Case::new(Kind::Plain).post(Some(200)).any_event("succeeded", None, false, true, TOLD).finds("only repeated");
}

#[test]
fn untold_second_post_is_found() {
    for first in [Some(200), Some(502), None] {
        let case = || Case::new(Kind::Plain).post(first).post(Some(200)).disturbed(SITE, Effects::DOUBT, DURING);
        case().event("succeeded", None).finds("posted 2 times, and no event tells it");
        case().doubtful("succeeded", None).finds_nothing();
    }
}

#[test]
fn second_post_of_parked_command_is_found() {
    let case = Case::new(Kind::Parked).post(Some(200)).post(Some(200)).disturbed(SITE, Effects::DOUBT, DURING);
    case.doubtful("succeeded", None).finds("posted again although the policy is `park`");
    Case::new(Kind::Parked).post(Some(503)).post(Some(200)).event("succeeded", None).finds_nothing();
}

#[test]
fn post_of_expired_command_is_found() {
    let case = Case::new(Kind::Expired).post(Some(200)).event("expired", Some("expired"));
    case.letter("expired").finds("posted");
}

#[test]
fn false_doubt_is_found() {
    let case = || Case::new(Kind::Plain).post(Some(200)).doubtful("succeeded", None);
    case().finds("possibleDuplicate at 20000 without a cause");
    case().disturbed(SITE, Effects::DOUBT, BEFORE).finds("without a cause");
    case().disturbed(OTHER, Effects::DOUBT, DURING).finds("without a cause");
    case().disturbed(SITE, Effects::REDELIVERY, DURING).finds("without a cause");
    case().disturbed(SITE, Effects::DOUBT, DURING).finds_nothing();
    Case::new(Kind::Cut).post(None).post(Some(200)).doubtful("succeeded", None).finds_nothing();
}

#[test]
fn redelivered_command_with_generated_id_is_in_doubt() {
    let case = || Case::new(Kind::GeneratedId).post(Some(200)).doubtful("succeeded", None);
    case().finds("without a cause");
    case().disturbed(SITE, Effects::REDELIVERY, DURING).finds_nothing();
}

#[test]
fn missing_and_additional_letters_are_found() {
    let case = || Case::new(Kind::Malformed).event("failed", Some("malformed"));
    case().finds("dead letters {} instead of {\"malformed\"}");
    case().letter("malformed").letter("malformed").finds("2 dead letters");
    case().letter("rejected").letter("malformed").finds("dead letters {\"malformed\", \"rejected\"}");
    let twice = case().letter("malformed").letter("malformed");
    twice.disturbed(SITE, Effects::REDELIVERY, DURING).finds_nothing();
}

#[test]
fn poison_other_than_culprits_is_found() {
    let mut case = Case::new(Kind::Plain).post(Some(200)).event("succeeded", None);
    let disturbance = case.0.disturbances.begin(Some(SITE), Effects::REDELIVERY, "a culprit".to_owned(), PUBLISHED);
    let culprit = Culprit { site: SITE, published_ms: PUBLISHED, letters: 0, disturbance };
    case.0.add_culprit("culprit 1".to_owned(), culprit);
    case.finds("culprit 1 (File, published at 10000) is not in the poison queue");
    assert_eq!(case.0.unburied(), 1);
    case.0.add_poison(SITE, b"culprit 1", TOLD);
    case.finds_nothing();
    case.0.add_poison(SITE, br#"{"commandId": "c-7-0"}"#, TOLD);
    case.finds("poison although it can be decoded");
}

#[test]
fn messages_of_no_command_are_found() {
    let mut case = Case::new(Kind::Plain).post(Some(200)).event("succeeded", None);
    case.0.add_event(OTHER, &json!({ "commandId": "c-7-0" }), TOLD, Timestamp::UNIX_EPOCH);
    case.finds("an event of no command");
}
