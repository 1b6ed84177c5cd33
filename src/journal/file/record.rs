//! One record of the log: a send, and what is known of it from then on. The newest record of a send holds.
//!
//! | bytes | what, little endian |
//! |---|---|
//! | 4 | length of the body |
//! | 4 | CRC-32 of the body |
//! | 4 | body: the offset in the file where the batch begins that it was written with |
//! | 1, 1 | what state, 1 started, 2 waiting, 3 ended; whether uncertain, or whether a letter is owed |
//! | 8 | when, ms since 1970 |
//! | 16 | which send |
//! | rest | of a start, the session that made it, 8 bytes; of an end, the event |

use bytes::Bytes;

use super::key::KeyHash;
use crate::domain::journal::{Record, RecordedOutcome};

/// The bytes before the body.
pub(super) const PREFIX: usize = 8;
const FIXED: usize = 4 + 1 + 1 + 8 + 16;
/// No event comes near it; a longer record is none.
pub(super) const MAX_BODY: usize = 1 << 20;
/// How long an event may be.
pub(super) const MAX_EVENT: usize = MAX_BODY - FIXED;

const STARTED: u8 = 1;
const WAITING: u8 = 2;
const ENDED: u8 = 3;

/// What is known of a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// An attempt was started.
    Started {
        /// By which opening of the journal.
        session: u64,
        /// An earlier attempt may have reached the API.
        uncertain: bool,
    },
    /// All attempts are accounted for.
    Waiting {
        /// One of them may have reached the API.
        uncertain: bool,
    },
    /// It is over.
    Ended(RecordedOutcome),
}

impl State {
    /// As the port tells it to the session that asks.
    pub(super) fn told_to(self, asking: u64) -> Record {
        match self {
            Self::Started { session, .. } if session == asking => Record::InProgress,
            Self::Started { .. } => Record::Orphaned,
            Self::Waiting { uncertain } => Record::Waiting { uncertain },
            Self::Ended(ended) => Record::Finished(ended),
        }
    }

    /// Whether an attempt that is not the asking session's own present one may have reached the API.
    pub(super) fn is_uncertain(&self, asking: u64) -> bool {
        match self {
            // An orphan's request may have left.
            Self::Started { session, uncertain } => *uncertain || *session != asking,
            Self::Waiting { uncertain } => *uncertain,
            Self::Ended(_) => false,
        }
    }
}

/// A record with its circumstances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where in the file the batch begins that it was written with: all before that was durable when it was written.
    pub(super) batch: u32,
    /// When, ms since 1970.
    pub(super) at_ms: i64,
    /// Which send.
    pub(super) hash: KeyHash,
    /// What is known of it.
    pub(super) state: State,
}

impl Entry {
    /// Appends it.
    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        let session;
        let (kind, flag, payload): (u8, bool, &[u8]) = match &self.state {
            State::Started { session: number, uncertain } => {
                session = number.to_le_bytes();
                (STARTED, *uncertain, &session)
            }
            State::Waiting { uncertain } => (WAITING, *uncertain, &[]),
            State::Ended(ended) => (ENDED, ended.letter_pending, &ended.event),
        };
        let mut fixed = [0; FIXED];
        let (head, hash) = fixed.split_at_mut(FIXED - 16);
        head.copy_from_slice(&head_of(self.batch, kind, flag, self.at_ms));
        hash.copy_from_slice(&self.hash.to_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&fixed);
        crc.update(payload);
        let length = u32::try_from(FIXED + payload.len()).unwrap_or(u32::MAX);
        into.extend_from_slice(&length.to_le_bytes());
        into.extend_from_slice(&crc.finalize().to_le_bytes());
        into.extend_from_slice(&fixed);
        into.extend_from_slice(payload);
    }

    /// Reads a body, whose checksum has been verified.
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let (batch, rest) = body.split_first_chunk::<4>()?;
        let ([kind, flag], rest) = rest.split_first_chunk::<2>()?;
        let (at_ms, rest) = rest.split_first_chunk::<8>()?;
        let (hash, payload) = rest.split_first_chunk::<16>()?;
        let flag = match flag {
            0 => false,
            1 => true,
            _ => return None,
        };
        let state = match *kind {
            STARTED => State::Started { session: u64::from_le_bytes(payload.try_into().ok()?), uncertain: flag },
            WAITING if payload.is_empty() => State::Waiting { uncertain: flag },
            ENDED => State::Ended(RecordedOutcome { event: Bytes::copy_from_slice(payload), letter_pending: flag }),
            _ => return None,
        };
        let (batch, at_ms) = (u32::from_le_bytes(*batch), i64::from_le_bytes(*at_ms));
        Some(Self { batch, at_ms, hash: KeyHash::from_bytes(*hash), state })
    }
}

fn head_of(batch: u32, kind: u8, flag: bool, at_ms: i64) -> [u8; FIXED - 16] {
    let mut head = [0; FIXED - 16];
    let (number, rest) = head.split_at_mut(4);
    let (what, when) = rest.split_at_mut(2);
    number.copy_from_slice(&batch.to_le_bytes());
    what.copy_from_slice(&[kind, u8::from(flag)]);
    when.copy_from_slice(&at_ms.to_le_bytes());
    head
}

/// How long the body is and what its checksum must be, if this can be the beginning of a record.
pub(super) fn prefix(bytes: [u8; PREFIX]) -> Option<(usize, u32)> {
    let [a, b, c, d, crc @ ..] = bytes;
    let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
    (FIXED..=MAX_BODY).contains(&length).then_some((length, u32::from_le_bytes(crc)))
}

/// The record at the beginning of these bytes, if there is a whole and sound one.
pub(super) fn first(bytes: &[u8]) -> Option<Entry> {
    let (head, rest) = bytes.split_first_chunk::<PREFIX>()?;
    let (length, crc) = prefix(*head)?;
    let body = rest.get(..length)?;
    // Told apart by these before the costly checksum is.
    let plausible = body.get(4).is_some_and(|kind| (STARTED..=ENDED).contains(kind));
    (plausible && crc32fast::hash(body) == crc).then(|| Entry::decode(body)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let ended = |event: &'static [u8], letter_pending| {
            State::Ended(RecordedOutcome { event: event.into(), letter_pending })
        };
        let states = [
            State::Started { session: u64::MAX, uncertain: false },
            State::Waiting { uncertain: true },
            ended(b"", true),
            ended(b"{\"a\":1}", false),
        ];
        let hash = KeyHash::from_bytes(*b"0123456789abcdef");
        states.into_iter().map(|state| Entry { batch: 7, at_ms: -1, hash, state }).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        for entry in entries() {
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            bytes.push(0xff);
            assert_eq!(first(&bytes), Some(entry));
        }
    }

    #[test]
    fn no_flipped_bit_and_no_cut_passes() {
        for entry in entries() {
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(first(&flipped), None, "bit {bit} of {entry:?}");
            }
            for end in 0..bytes.len() {
                assert_eq!(first(&bytes[..end]), None);
            }
        }
    }
}
