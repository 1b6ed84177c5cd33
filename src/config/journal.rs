//! `[journal]`

use std::time::Duration;

use super::{Mistakes, Sources, broker, reader::Reader};
use crate::journal::{FileJournalSettings, RedisJournalSettings, RedisUrl};

const HOUR: Duration = Duration::from_secs(3_600);
const MONTH: Duration = Duration::from_secs(31 * 86_400);
const MIB: u64 = 1 << 20;

/// The journal that the settings select.
#[derive(Clone, Debug)]
pub enum JournalChoice {
    /// A directory that this daemon alone uses.
    File(FileJournalSettings),
    /// A Redis that all daemons on the queue share.
    Redis(RedisJournalSettings),
    /// No journal.
    None,
}

/// `journal.kind`
#[derive(Clone, Copy, PartialEq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum JournalKind {
    File,
    Redis,
    None,
}

impl JournalChoice {
    /// `prefix` is `broker.prefix`, which is also the prefix of the keys in Redis.
    pub(super) fn read(reader: &mut Reader, prefix: &str) -> Self {
        let kind = reader.choice("journal.kind").unwrap_or(JournalKind::File);
        let retention = reader.duration("journal.retention", HOUR..=MONTH).unwrap_or_default();
        let dir = reader.text("journal.dir").unwrap_or_default().into();
        let max_bytes = reader.whole("journal.max_bytes", 16 * MIB..=1_024 * 1_024 * MIB);
        let url = redis_url(reader, kind);
        let prefix = prefix.to_owned();
        match kind {
            JournalKind::File => Self::File(FileJournalSettings { dir, retention, max_bytes }),
            // A missing URL is a mistake, so this `None` is never used.
            JournalKind::Redis => {
                url.map_or(Self::None, |url| Self::Redis(RedisJournalSettings { url, prefix, retention }))
            }
            JournalKind::None => Self::None,
        }
    }

    /// Reads this section and `broker.prefix` alone, for commands that inspect a journal.
    ///
    /// # Errors
    /// All mistakes in these settings, and all unknown names.
    pub fn load(sources: &Sources) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(sources);
        let prefix = broker::read_prefix(&mut reader);
        let journal = Self::read(&mut reader, &prefix);
        reader.finish(journal)
    }
}

fn redis_url(reader: &mut Reader, kind: JournalKind) -> Option<RedisUrl> {
    let is_set = reader.is_set("journal.redis_url") || reader.is_set("journal.redis_url_file");
    if !is_set && kind == JournalKind::Redis {
        let problem = "is required with journal.kind = \"redis\"; write it as in redis://host:6379/0";
        reader.mistake("journal.redis_url", problem);
    }
    is_set.then(|| reader.secret_value("journal.redis_url", str::parse)).flatten()
}
