//! What the tests of every journal share: a store whose owners crash, and the records of sends.

use std::future::Future;

use bytes::Bytes;

use crate::{
    domain::{
        command::CommandId,
        journal::{AttemptHistory, Record, RecordedOutcome, SendKey},
    },
    ports::Journal,
};

/// A store, and owners of it that crash one after the other.
pub(crate) trait JournalFixture: Sized {
    type Journal: Journal;

    /// Opens an empty store as its first owner.
    fn open(&mut self) -> impl Future<Output = Self::Journal>;

    /// Ends the owner as `kill -9` does, so that only durable changes remain, and opens the store as the next owner.
    fn crash(&mut self, owner: Self::Journal) -> impl Future<Output = Self::Journal>;
}

pub(crate) fn key(id: &str) -> SendKey {
    replay(id, 0)
}

pub(crate) fn replay(id: &str, replay: u32) -> SendKey {
    SendKey { command_id: CommandId::new(id).expect("an id"), replay }
}

pub(crate) fn outcome(event: &str) -> RecordedOutcome {
    RecordedOutcome { event: Bytes::copy_from_slice(event.as_bytes()), letter_pending: false, published: false }
}

pub(crate) fn pending(event: &str) -> RecordedOutcome {
    RecordedOutcome { letter_pending: true, ..outcome(event) }
}

pub(crate) fn published(outcome: RecordedOutcome) -> RecordedOutcome {
    RecordedOutcome { published: true, ..outcome }
}

pub(crate) const ORPHANED: Record = Record::Orphaned { counted: 0 };
pub(crate) const WAITING: Record = Record::Waiting(CERTAIN);
pub(crate) const WAITING_UNCERTAIN: Record = Record::Waiting(UNCERTAIN);

/// No attempt that counts, and none that may have reached the API.
pub(crate) const CERTAIN: AttemptHistory = AttemptHistory { counted: 0, uncertain: false };
/// The same, but one may have reached the API.
pub(crate) const UNCERTAIN: AttemptHistory = AttemptHistory { counted: 0, uncertain: true };
