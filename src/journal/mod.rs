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
    domain::journal::{Ended, Record, SendKey},
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

    async fn start(&self, key: &SendKey) -> JournalResult<Record> {
        match self {
            Self::File(journal) => journal.start(key).await,
            Self::Redis(journal) => Box::pin(journal.start(key)).await,
            Self::None(journal) => journal.start(key).await,
        }
    }

    async fn release(&self, key: &SendKey, uncertain: bool) -> JournalResult<()> {
        match self {
            Self::File(journal) => journal.release(key, uncertain).await,
            Self::Redis(journal) => Box::pin(journal.release(key, uncertain)).await,
            Self::None(journal) => journal.release(key, uncertain).await,
        }
    }

    async fn end(&self, key: &SendKey, ended: Ended) -> JournalResult<()> {
        match self {
            Self::File(journal) => journal.end(key, ended).await,
            Self::Redis(journal) => Box::pin(journal.end(key, ended)).await,
            Self::None(journal) => journal.end(key, ended).await,
        }
    }

    async fn letter_stored(&self, key: &SendKey) -> JournalResult<()> {
        match self {
            Self::File(journal) => journal.letter_stored(key).await,
            Self::Redis(journal) => Box::pin(journal.letter_stored(key)).await,
            Self::None(journal) => journal.letter_stored(key).await,
        }
    }

    fn remembers(&self) -> bool {
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
