//! The format of a log record: a send and its full state. The newest record of a send is valid. A `Published` record
//! completes the send's finished record in the same segment.
//!
//! | bytes | content, little endian |
//! |---|---|
//! | 4 | length of the body |
//! | 4 | CRC-32 of the body |
//! | 4 | body: offset in the file of the batch that the record was written with |
//! | 1 | kind: 1 started, 2 waiting, 3 finished, 4 published |
//! | 1 | flags: 1 uncertain, or letter pending; 2 published |
//! | 8 | time, ms since 1970 |
//! | 16 | key hash |
//! | rest | started: the session, 8 bytes; started and waiting: attempts that count, 4 bytes; finished: the event |
//!
//! Version 1 of the format had no attempts and no publish state. Its records are read as if there were none.

use bytes::Bytes;

use super::key::KeyHash;
use crate::domain::journal::{AttemptHistory, Record, RecordedOutcome};

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
const PUBLISHED: u8 = 4;

/// The flag of started and waiting: an attempt may have reached the API.
const UNCERTAIN_FLAG: u8 = 1;
/// The flags of finished.
const PENDING_FLAG: u8 = 1;
const PUBLISHED_FLAG: u8 = 2;

/// The recorded state of a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SendState {
    /// An attempt was started.
    Started {
        /// The session that started it.
        session: u64,
        /// The attempts before it.
        history: AttemptHistory,
    },
    /// All attempts are accounted for.
    Waiting(AttemptHistory),
    /// The send has its outcome.
    Finished(RecordedOutcome),
    /// The broker has confirmed the event of the finished record before. Only in a log, never the state of a send.
    Published,
}

impl SendState {
    /// Converts the state to the port's record, as seen from `session`.
    pub(super) fn into_record(self, own_session: u64) -> Record {
        match self {
            Self::Started { session, .. } if session == own_session => Record::InProgress,
            Self::Started { history, .. } => Record::Orphaned { counted: history.counted },
            Self::Waiting(history) => Record::Waiting(history),
            Self::Finished(outcome) => Record::Finished(outcome),
            Self::Published => Record::Unknown,
        }
    }

    /// The attempts other than the session's own current one.
    pub(super) fn history(&self, own_session: u64) -> AttemptHistory {
        match self {
            // The request of an orphaned attempt may have left.
            Self::Started { session, history } => {
                AttemptHistory { uncertain: history.uncertain || *session != own_session, ..*history }
            }
            Self::Waiting(history) => *history,
            Self::Finished(_) | Self::Published => AttemptHistory::default(),
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
    /// Marks a finished record as published, if a `Published` record follows it.
    pub(super) fn with_published(mut self, is_published: bool) -> Self {
        if let SendState::Finished(outcome) = &mut self.state {
            outcome.published |= is_published;
        }
        self
    }

    /// Appends the encoded record.
    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        let mut numbers = [0; 12];
        let (kind, flags, payload): (u8, u8, &[u8]) = match &self.state {
            SendState::Started { session, history } => {
                let (session_bytes, counted_bytes) = numbers.split_at_mut(8);
                session_bytes.copy_from_slice(&session.to_le_bytes());
                counted_bytes.copy_from_slice(&history.counted.to_le_bytes());
                (STARTED, u8::from(history.uncertain) * UNCERTAIN_FLAG, &numbers)
            }
            SendState::Waiting(history) => {
                let (counted_bytes, _) = numbers.split_at_mut(4);
                counted_bytes.copy_from_slice(&history.counted.to_le_bytes());
                (WAITING, u8::from(history.uncertain) * UNCERTAIN_FLAG, counted_bytes)
            }
            SendState::Finished(outcome) => {
                let flags =
                    u8::from(outcome.letter_pending) * PENDING_FLAG + u8::from(outcome.published) * PUBLISHED_FLAG;
                (FINISHED, flags, &outcome.event)
            }
            SendState::Published => (PUBLISHED, 0, &[]),
        };
        let mut fixed = [0; FIXED];
        let (head, hash) = fixed.split_at_mut(FIXED - 16);
        head.copy_from_slice(&encode_head(self.batch, kind, flags, self.at_ms));
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
        let ([kind, flags], rest) = rest.split_first_chunk::<2>()?;
        let (at_ms, rest) = rest.split_first_chunk::<8>()?;
        let (hash, payload) = rest.split_first_chunk::<16>()?;
        let state = decode_state(*kind, *flags, payload)?;
        let (batch, at_ms) = (u32::from_le_bytes(*batch), i64::from_le_bytes(*at_ms));
        Some(Self { batch, at_ms, hash: KeyHash::from_bytes(*hash), state })
    }
}

fn decode_state(kind: u8, flags: u8, payload: &[u8]) -> Option<SendState> {
    let history = |counted: u32| match flags {
        0 | UNCERTAIN_FLAG => Some(AttemptHistory { counted, uncertain: flags == UNCERTAIN_FLAG }),
        _ => None,
    };
    match kind {
        STARTED => {
            let (session, counted) = payload.split_first_chunk::<8>()?;
            let (session, history) = (u64::from_le_bytes(*session), history(decode_count(counted)?)?);
            Some(SendState::Started { session, history })
        }
        WAITING => Some(SendState::Waiting(history(decode_count(payload)?)?)),
        FINISHED if flags <= PENDING_FLAG | PUBLISHED_FLAG => {
            let (letter_pending, published) = (flags & PENDING_FLAG != 0, flags & PUBLISHED_FLAG != 0);
            Some(SendState::Finished(RecordedOutcome {
                event: Bytes::copy_from_slice(payload),
                letter_pending,
                published,
            }))
        }
        PUBLISHED if flags == 0 && payload.is_empty() => Some(SendState::Published),
        _ => None,
    }
}

/// Version 1 has no count.
fn decode_count(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() { Some(0) } else { bytes.try_into().ok().map(u32::from_le_bytes) }
}

fn encode_head(batch: u32, kind: u8, flags: u8, at_ms: i64) -> [u8; FIXED - 16] {
    let mut head = [0; FIXED - 16];
    let (batch_bytes, rest) = head.split_at_mut(4);
    let (kind_and_flags, time) = rest.split_at_mut(2);
    batch_bytes.copy_from_slice(&batch.to_le_bytes());
    kind_and_flags.copy_from_slice(&[kind, flags]);
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
    let has_valid_kind = body.get(4).is_some_and(|kind| (STARTED..=PUBLISHED).contains(kind));
    (has_valid_kind && crc32fast::hash(body) == crc).then(|| LogRecord::decode(body)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<LogRecord> {
        let finished = |event: &'static [u8], letter_pending, published| {
            SendState::Finished(RecordedOutcome { event: event.into(), letter_pending, published })
        };
        let history = AttemptHistory { counted: 7, uncertain: true };
        let states = [
            SendState::Started { session: u64::MAX, history: AttemptHistory::default() },
            SendState::Started { session: 1, history },
            SendState::Waiting(history),
            finished(b"", true, false),
            finished(b"{\"a\":1}", false, true),
            SendState::Published,
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
