//! Parses the scripts' replies.

use super::script::ScriptReply;
use crate::domain::journal::{AttemptHistory, Record, RecordedOutcome};

/// A recorded start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordedStart {
    pub(super) owner: Vec<u8>,
    pub(super) number: Vec<u8>,
    /// The attempts that counted before it.
    pub(super) counted: u32,
}

/// The result of starting an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StartResult {
    /// The start is on record; this was the record before.
    Granted(Record),
    /// Another owner, alive or not, has an attempt in progress.
    HeldBy(RecordedStart),
    /// The send has its outcome.
    Finished(RecordedOutcome),
    /// Nothing is on record, in a store that is not the one that this owner has checked.
    StoreChanged,
}

/// The result of a lookup.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LookupResult {
    /// No attempt is in progress.
    Idle(Record),
    /// An attempt was started, perhaps by this owner; the record before it.
    Started(RecordedStart, Record),
}

impl StartResult {
    /// Returns `None` for a reply that the script does not give.
    pub(super) fn parse(reply: ScriptReply) -> Option<Self> {
        let mut parts = reply.into_iter();
        match parts.next()?.as_slice() {
            b"M" => Some(Self::StoreChanged),
            b"S" => Some(Self::HeldBy(parse_start(&mut parts)?)),
            b"E" => Some(Self::Finished(parse_outcome(&mut parts)?)),
            state => Some(Self::Granted(parse_record(state, &mut parts)?)),
        }
    }
}

impl LookupResult {
    /// Returns `None` for a reply that the script does not give.
    pub(super) fn parse(reply: ScriptReply) -> Option<Self> {
        let mut parts = reply.into_iter();
        match parts.next()?.as_slice() {
            b"S" => {
                let start = parse_start(&mut parts)?;
                let before = parts.next()?;
                let history = AttemptHistory { counted: start.counted, uncertain: parse_flag(&parts.next()?)? };
                Some(Self::Started(start, record_of(&before, history)?))
            }
            b"E" => Some(Self::Idle(Record::Finished(parse_outcome(&mut parts)?))),
            state => Some(Self::Idle(parse_record(state, &mut parts)?)),
        }
    }
}

fn parse_start(parts: &mut impl Iterator<Item = Vec<u8>>) -> Option<RecordedStart> {
    Some(RecordedStart { owner: parts.next()?, number: parts.next()?, counted: parse_count(&parts.next()?)? })
}

fn parse_outcome(parts: &mut impl Iterator<Item = Vec<u8>>) -> Option<RecordedOutcome> {
    let (letter_pending, published) = (parse_flag(&parts.next()?)?, parse_flag(&parts.next()?)?);
    Some(RecordedOutcome { event: parts.next()?.into(), letter_pending, published })
}

fn parse_record(state: &[u8], parts: &mut impl Iterator<Item = Vec<u8>>) -> Option<Record> {
    let uncertain = parse_flag(&parts.next()?)?;
    record_of(state, AttemptHistory { uncertain, counted: parse_count(&parts.next()?)? })
}

fn record_of(state: &[u8], history: AttemptHistory) -> Option<Record> {
    match state {
        b"U" => Some(Record::Unknown),
        b"W" => Some(Record::Waiting(history)),
        b"O" => Some(Record::Orphaned { counted: history.counted }),
        _ => None,
    }
}

fn parse_count(text: &[u8]) -> Option<u32> {
    str::from_utf8(text).ok()?.parse().ok()
}

fn parse_flag(text: &[u8]) -> Option<bool> {
    match text {
        b"1" => Some(true),
        b"0" => Some(false),
        _ => None,
    }
}
