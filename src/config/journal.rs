//! `[journal]`

use std::{path::PathBuf, time::Duration};

use super::{Mistakes, Sources, reader::Reader};

const HOUR: Duration = Duration::from_secs(3_600);
const MONTH: Duration = Duration::from_secs(31 * 86_400);
const MIB: u64 = 1 << 20;

/// Where what was started and how it ended is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Journal {
    /// In a directory of this daemon's own.
    File(FileJournal),
    /// Nowhere.
    None,
}

/// The journal in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileJournal {
    /// Relative to the working directory, if it is relative.
    pub dir: PathBuf,
    /// How long a send is remembered at least.
    pub retention: Duration,
    /// How large it may become before the oldest go early.
    pub max_bytes: u64,
}

#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    File,
    None,
}

impl Journal {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let file = FileJournal {
            dir: reader.text("journal.dir").unwrap_or_default().into(),
            retention: reader.duration("journal.retention", HOUR..=MONTH).unwrap_or_default(),
            max_bytes: reader.whole("journal.max_bytes", 16 * MIB..=1_024 * 1_024 * MIB),
        };
        match reader.choice("journal.kind").unwrap_or(Kind::File) {
            Kind::File => Self::File(file),
            Kind::None => Self::None,
        }
    }

    /// These settings alone, for commands that look into a journal.
    ///
    /// # Errors
    /// Every mistake in the section, and every name that is no setting.
    pub fn load(sources: &Sources) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(sources);
        let journal = Self::read(&mut reader);
        reader.finish(journal)
    }
}
