//! The durable record of started attempts and of outcomes, in files, in Redis, or not at all.

mod event;
mod file;
mod none;
mod redis;
#[cfg(test)]
mod tests;

pub use self::{
    event::JournalEvent,
    file::{
        FileJournal, FileJournalSettings, InspectError, InspectedRecord, JournalStats, OpenError, StorageError,
        inspect_record, inspect_stats,
    },
    none::NoJournal,
    redis::{RedisJournal, RedisJournalSettings, RedisUrl},
};
use crate::{
    domain::journal::{AttemptHistory, Doubt, Record, RecordedOutcome, SendKey},
    ports::{Journal, JournalResult},
};

/// The journal that `journal.kind` selects.
///
/// Futures of the Redis journal are boxed: every command task reserves space for the largest of the three, and a round
/// trip costs more than an allocation.
#[derive(Clone, Debug)]
pub enum AnyJournal {
    /// A directory that one daemon owns.
    File(FileJournal),
    /// A Redis that several daemons share.
    Redis(RedisJournal),
    /// No journal: at-least-once only.
    None(NoJournal),
}

impl Journal for AnyJournal {
    async fn lookup(&self, key: &SendKey) -> JournalResult<Record> {
        match self {
            Self::File(journal) => journal.lookup(key).await,
            Self::Redis(journal) => Box::pin(journal.lookup(key)).await,
            Self::None(journal) => journal.lookup(key).await,
        }
    }

    async fn start_attempt(&self, key: &SendKey) -> JournalResult<Record> {
        match self {
            Self::File(journal) => journal.start_attempt(key).await,
            Self::Redis(journal) => Box::pin(journal.start_attempt(key)).await,
            Self::None(journal) => journal.start_attempt(key).await,
        }
    }

    async fn finish_attempt(&self, key: &SendKey, history: AttemptHistory) -> JournalResult<()> {
        match self {
            Self::File(journal) => journal.finish_attempt(key, history).await,
            Self::Redis(journal) => Box::pin(journal.finish_attempt(key, history)).await,
            Self::None(journal) => journal.finish_attempt(key, history).await,
        }
    }

    async fn record_outcome(&self, key: &SendKey, outcome: RecordedOutcome) -> JournalResult<()> {
        match self {
            Self::File(journal) => journal.record_outcome(key, outcome).await,
            Self::Redis(journal) => Box::pin(journal.record_outcome(key, outcome)).await,
            Self::None(journal) => journal.record_outcome(key, outcome).await,
        }
    }

    async fn record_letter_stored(&self, key: &SendKey) -> JournalResult<()> {
        match self {
            Self::File(journal) => journal.record_letter_stored(key).await,
            Self::Redis(journal) => Box::pin(journal.record_letter_stored(key)).await,
            Self::None(journal) => journal.record_letter_stored(key).await,
        }
    }

    async fn record_unposted(&self, key: &SendKey, history: AttemptHistory) -> JournalResult<()> {
        match self {
            Self::File(journal) => journal.record_unposted(key, history).await,
            Self::Redis(journal) => Box::pin(journal.record_unposted(key, history)).await,
            Self::None(journal) => journal.record_unposted(key, history).await,
        }
    }

    async fn record_published(&self, key: &SendKey) -> JournalResult<()> {
        match self {
            Self::File(journal) => journal.record_published(key).await,
            Self::Redis(journal) => Box::pin(journal.record_published(key)).await,
            Self::None(journal) => journal.record_published(key).await,
        }
    }

    async fn record_doubt(&self, key: &SendKey) -> JournalResult<()> {
        match self {
            Self::File(journal) => journal.record_doubt(key).await,
            Self::Redis(journal) => Box::pin(journal.record_doubt(key)).await,
            Self::None(journal) => journal.record_doubt(key).await,
        }
    }

    fn is_complete(&self) -> bool {
        match self {
            Self::File(journal) => journal.is_complete(),
            Self::Redis(journal) => journal.is_complete(),
            Self::None(journal) => journal.is_complete(),
        }
    }

    fn has_newest_records(&self) -> bool {
        match self {
            Self::File(journal) => journal.has_newest_records(),
            Self::Redis(journal) => journal.has_newest_records(),
            Self::None(journal) => journal.has_newest_records(),
        }
    }

    fn doubt(&self) -> Doubt {
        match self {
            Self::File(journal) => journal.doubt(),
            Self::Redis(journal) => journal.doubt(),
            Self::None(journal) => journal.doubt(),
        }
    }

    fn end_former_doubt(&self) {
        match self {
            Self::File(journal) => journal.end_former_doubt(),
            Self::Redis(journal) => journal.end_former_doubt(),
            Self::None(journal) => journal.end_former_doubt(),
        }
    }

    fn is_enabled(&self) -> bool {
        !matches!(self, Self::None(_))
    }
}
