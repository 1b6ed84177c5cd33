//! `[journal]`

use std::{path::PathBuf, time::Duration};

use super::{Mistakes, Sources, broker, reader::Reader};
use crate::journal::{RedisUrl, parse_redis_url};

const HOUR: Duration = Duration::from_secs(3_600);
const MONTH: Duration = Duration::from_secs(31 * 86_400);
const MIB: u64 = 1 << 20;

/// Where what was started and how it ended is remembered.
#[derive(Clone, Debug)]
pub enum Journal {
    /// In a directory of this daemon's own.
    File(FileJournal),
    /// In a Redis that all daemons on the queue share.
    Redis(RedisJournal),
    /// Nowhere.
    None,
}

/// The journal in a directory.
#[derive(Clone, Debug)]
pub struct FileJournal {
    /// Relative to the working directory, if it is relative.
    pub dir: PathBuf,
    /// How long a send is remembered at least.
    pub retention: Duration,
    /// How large it may become before the oldest go early.
    pub max_bytes: u64,
}

/// The journal in a Redis.
#[derive(Clone, Debug)]
pub struct RedisJournal {
    /// Where it is; with a password, perhaps.
    pub url: RedisUrl,
    /// How long a send is remembered.
    pub retention: Duration,
}

#[derive(Clone, Copy, PartialEq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    File,
    Redis,
    None,
}

impl Journal {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let kind = reader.choice("journal.kind").unwrap_or(Kind::File);
        let retention = reader.duration("journal.retention", HOUR..=MONTH).unwrap_or_default();
        let dir = reader.text("journal.dir").unwrap_or_default().into();
        let max_bytes = reader.whole("journal.max_bytes", 16 * MIB..=1_024 * 1_024 * MIB);
        let url = redis_url(reader, kind);
        match kind {
            Kind::File => Self::File(FileJournal { dir, retention, max_bytes }),
            // Without a URL there is a mistake, and nobody sees this.
            Kind::Redis => url.map_or(Self::None, |url| Self::Redis(RedisJournal { url, retention })),
            Kind::None => Self::None,
        }
    }
}

/// What commands need that look into a journal.
#[derive(Clone, Debug)]
pub struct JournalSettings {
    /// `[journal]`
    pub journal: Journal,
    /// `broker.prefix`, which the keys in a Redis start with.
    pub prefix: String,
}

impl JournalSettings {
    /// Reads and checks these settings alone.
    ///
    /// # Errors
    /// Every mistake in them, and every name that is no setting.
    pub fn load(sources: &Sources) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(sources);
        let (journal, prefix) = (Journal::read(&mut reader), broker::read_prefix(&mut reader));
        reader.finish(Self { journal, prefix })
    }
}

fn redis_url(reader: &mut Reader, kind: Kind) -> Option<RedisUrl> {
    let is_set = reader.is_set("journal.redis_url") || reader.is_set("journal.redis_url_file");
    if !is_set && kind == Kind::Redis {
        reader.mistake("journal.redis_url", "is required with journal.kind = \"redis\": as in redis://host:6379/0");
    }
    is_set.then(|| reader.secret_value("journal.redis_url", parse_redis_url)).flatten()
}
