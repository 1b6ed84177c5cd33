//! The format of a log record: a send and its full state. The newest record of a send is valid.
//!
//! | bytes | content, little endian |
//! |---|---|
//! | 4 | length of the body |
//! | 4 | CRC-32 of the body |
//! | 4 | body: offset in the file of the batch that the record was written with |
//! | 1, 1 | kind: 1 started, 2 waiting, 3 finished; flag: uncertain, or letter pending |
//! | 8 | time, ms since 1970 |
//! | 16 | key hash |
//! | rest | started: the session, 8 bytes; finished: the event |

use bytes::Bytes;

use super::key::KeyHash;
use crate::domain::journal::{Record, RecordedOutcome};

/// The length of a log's header, which precedes the first record: magic, the segment's number, its predecessor's
/// number.
pub(super) const LOG_HEADER: u32 = 24;
/// The bytes before the body.
pub(super) const PREFIX: usize = 8;
const FIXED: usize = 4 + 1 + 1 + 8 + 16;
/// Far above any event; a longer length means that the bytes are not a record.
pub(super) const MAX_BODY: usize = 1 << 20;
/// The maximum length of an event.
pub(super) const MAX_EVENT_BYTES: usize = MAX_BODY - FIXED;

const STARTED: u8 = 1;
const WAITING: u8 = 2;
const FINISHED: u8 = 3;

/// The recorded state of a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SendState {
    /// An attempt was started.
    Started {
        /// The session that started it.
        session: u64,
        /// An earlier attempt may have reached the API.
        uncertain: bool,
    },
    /// All attempts are accounted for.
    Waiting {
        /// One of them may have reached the API.
        uncertain: bool,
    },
    /// The send has its outcome.
    Finished(RecordedOutcome),
}

impl SendState {
    /// Converts the state to the port's record, as seen from `session`.
    pub(super) fn into_record(self, own_session: u64) -> Record {
        match self {
            Self::Started { session, .. } if session == own_session => Record::InProgress,
            Self::Started { .. } => Record::Orphaned,
            Self::Waiting { uncertain } => Record::Waiting { uncertain },
            Self::Finished(outcome) => Record::Finished(outcome),
        }
    }

    /// Whether an attempt other than the session's own current one may have reached the API.
    pub(super) fn is_uncertain(&self, own_session: u64) -> bool {
        match self {
            // The request of an orphaned attempt may have left.
            Self::Started { session, uncertain } => *uncertain || *session != own_session,
            Self::Waiting { uncertain } => *uncertain,
            Self::Finished(_) => false,
        }
    }
}

/// A record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogRecord {
    /// The offset of the record's batch: everything before it was durable when the record was written.
    pub(super) batch: u32,
    /// The time of writing, ms since 1970.
    pub(super) at_ms: i64,
    /// The send.
    pub(super) hash: KeyHash,
    /// The send's state.
    pub(super) state: SendState,
}

impl LogRecord {
    /// Appends the encoded record.
    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        let session_bytes;
        let (kind, flag, payload): (u8, bool, &[u8]) = match &self.state {
            SendState::Started { session, uncertain } => {
                session_bytes = session.to_le_bytes();
                (STARTED, *uncertain, &session_bytes)
            }
            SendState::Waiting { uncertain } => (WAITING, *uncertain, &[]),
            SendState::Finished(outcome) => (FINISHED, outcome.letter_pending, &outcome.event),
        };
        let mut fixed = [0; FIXED];
        let (head, hash) = fixed.split_at_mut(FIXED - 16);
        head.copy_from_slice(&encode_head(self.batch, kind, flag, self.at_ms));
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

    /// Decodes a body whose checksum has been verified.
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
            STARTED => SendState::Started { session: u64::from_le_bytes(payload.try_into().ok()?), uncertain: flag },
            WAITING if payload.is_empty() => SendState::Waiting { uncertain: flag },
            FINISHED => {
                SendState::Finished(RecordedOutcome { event: Bytes::copy_from_slice(payload), letter_pending: flag })
            }
            _ => return None,
        };
        let (batch, at_ms) = (u32::from_le_bytes(*batch), i64::from_le_bytes(*at_ms));
        Some(Self { batch, at_ms, hash: KeyHash::from_bytes(*hash), state })
    }
}

fn encode_head(batch: u32, kind: u8, flag: bool, at_ms: i64) -> [u8; FIXED - 16] {
    let mut head = [0; FIXED - 16];
    let (batch_bytes, rest) = head.split_at_mut(4);
    let (kind_and_flag, time) = rest.split_at_mut(2);
    batch_bytes.copy_from_slice(&batch.to_le_bytes());
    kind_and_flag.copy_from_slice(&[kind, u8::from(flag)]);
    time.copy_from_slice(&at_ms.to_le_bytes());
    head
}

/// Decodes the body's length and checksum; `None` if no record starts with these bytes.
pub(super) fn decode_prefix(bytes: [u8; PREFIX]) -> Option<(usize, u32)> {
    let [a, b, c, d, crc @ ..] = bytes;
    let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
    (FIXED..=MAX_BODY).contains(&length).then_some((length, u32::from_le_bytes(crc)))
}

/// Decodes the record at the start of these bytes; `None` if it is incomplete or damaged.
pub(super) fn decode_first(bytes: &[u8]) -> Option<LogRecord> {
    let (head, rest) = bytes.split_first_chunk::<PREFIX>()?;
    let (length, crc) = decode_prefix(*head)?;
    let body = rest.get(..length)?;
    // Rules out most byte strings before the checksum is computed.
    let has_valid_kind = body.get(4).is_some_and(|kind| (STARTED..=FINISHED).contains(kind));
    (has_valid_kind && crc32fast::hash(body) == crc).then(|| LogRecord::decode(body)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<LogRecord> {
        let finished = |event: &'static [u8], letter_pending| {
            SendState::Finished(RecordedOutcome { event: event.into(), letter_pending })
        };
        let states = [
            SendState::Started { session: u64::MAX, uncertain: false },
            SendState::Waiting { uncertain: true },
            finished(b"", true),
            finished(b"{\"a\":1}", false),
        ];
        let hash = KeyHash::from_bytes(*b"0123456789abcdef");
        states.into_iter().map(|state| LogRecord { batch: 7, at_ms: -1, hash, state }).collect()
    }

    #[test]
    fn record_round_trips() {
        for record in records() {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            bytes.push(0xff);
            assert_eq!(decode_first(&bytes), Some(record));
        }
    }

    #[test]
    fn record_with_flipped_bit_or_cut_is_not_decoded() {
        for record in records() {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(decode_first(&flipped), None, "bit {bit} of {record:?}");
            }
            for end in 0..bytes.len() {
                assert_eq!(decode_first(&bytes[..end]), None);
            }
        }
    }
}
