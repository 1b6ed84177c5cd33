//! The durable record of what was started and how it ended: one port, several stores.

mod file;
mod none;
mod redis;
#[cfg(test)]
mod tests;

pub use self::{
    file::{Fault, FileJournal, FileJournalSettings, Notice, OpenError, Shown, Stats, Unreadable, show, stats},
    none::NoJournal,
    redis::{RedisJournal, RedisJournalSettings, RedisUrl, parse as parse_redis_url},
};
use crate::{
    domain::journal::{Record, RecordedOutcome, SendKey},
    ports::{self, JournalResult},
};

/// The journal that the settings chose.
///
/// What asks Redis is boxed: each command's task has room for the largest of the three, and a round trip costs more.
#[derive(Clone, Debug)]
pub enum Journal {
    /// One daemon, one directory.
    File(FileJournal),
    /// Several daemons, one Redis.
    Redis(RedisJournal),
    /// At-least-once only.
    None(NoJournal),
}

impl ports::Journal for Journal {
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

    async fn finish_attempt(&self, key: &SendKey, uncertain: bool) -> JournalResult<()> {
        match self {
            Self::File(journal) => journal.finish_attempt(key, uncertain).await,
            Self::Redis(journal) => Box::pin(journal.finish_attempt(key, uncertain)).await,
            Self::None(journal) => journal.finish_attempt(key, uncertain).await,
        }
    }

    async fn record_outcome(&self, key: &SendKey, ended: RecordedOutcome) -> JournalResult<()> {
        match self {
            Self::File(journal) => journal.record_outcome(key, ended).await,
            Self::Redis(journal) => Box::pin(journal.record_outcome(key, ended)).await,
            Self::None(journal) => journal.record_outcome(key, ended).await,
        }
    }

    async fn record_letter_stored(&self, key: &SendKey) -> JournalResult<()> {
        match self {
            Self::File(journal) => journal.record_letter_stored(key).await,
            Self::Redis(journal) => Box::pin(journal.record_letter_stored(key)).await,
            Self::None(journal) => journal.record_letter_stored(key).await,
        }
    }

    fn is_enabled(&self) -> bool {
        !matches!(self, Self::None(_))
    }

    fn is_complete(&self) -> bool {
        match self {
            Self::File(journal) => journal.is_complete(),
            Self::Redis(journal) => journal.is_complete(),
            Self::None(journal) => journal.is_complete(),
        }
    }
}
