//! What the scripts answer, as values.

use super::script::Reply;
use crate::domain::journal::{Record, RecordedOutcome};

/// A start that somebody else recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) owner: Vec<u8>,
    pub(super) number: Vec<u8>,
}

/// What became of a start.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Started {
    /// It is on record; this was there before.
    Ours(Record),
    /// It is not: this owner, dead or alive, started before.
    Theirs(Attempt),
    /// It is not: there is an end.
    Ended(RecordedOutcome),
}

/// What is on record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// Nobody is at it.
    Still(Record),
    /// Somebody started, perhaps we, and it was this before.
    Started(Attempt, Record),
}

impl Started {
    /// `None` for what our script never answers here.
    pub(super) fn read(reply: Reply) -> Option<Self> {
        let mut parts = reply.into_iter();
        match parts.next()?.as_slice() {
            b"S" => Some(Self::Theirs(attempt(&mut parts)?)),
            b"E" => Some(Self::Ended(ended(&mut parts)?)),
            word => Some(Self::Ours(before(word, &parts.next()?)?)),
        }
    }
}

impl Looked {
    /// `None` for what our script never answers here.
    pub(super) fn read(reply: Reply) -> Option<Self> {
        let mut parts = reply.into_iter();
        match parts.next()?.as_slice() {
            b"S" => {
                let attempt = attempt(&mut parts)?;
                Some(Self::Started(attempt, before(&parts.next()?, &parts.next()?)?))
            }
            b"E" => Some(Self::Still(Record::Finished(ended(&mut parts)?))),
            word => Some(Self::Still(before(word, &parts.next()?)?)),
        }
    }
}

fn attempt(parts: &mut impl Iterator<Item = Vec<u8>>) -> Option<Attempt> {
    Some(Attempt { owner: parts.next()?, number: parts.next()? })
}

fn ended(parts: &mut impl Iterator<Item = Vec<u8>>) -> Option<RecordedOutcome> {
    let letter_pending = flag(&parts.next()?)?;
    Some(RecordedOutcome { event: parts.next()?.into(), letter_pending })
}

fn before(word: &[u8], uncertain: &[u8]) -> Option<Record> {
    match word {
        b"U" => Some(Record::Unknown),
        b"W" => Some(Record::Waiting { uncertain: flag(uncertain)? }),
        b"O" => Some(Record::Orphaned),
        _ => None,
    }
}

fn flag(text: &[u8]) -> Option<bool> {
    match text {
        b"1" => Some(true),
        b"0" => Some(false),
        _ => None,
    }
}
