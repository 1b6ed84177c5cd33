//! The file journal: a segmented log in one directory, with group commit, for one daemon.
//!
//! | file | content |
//! |---|---|
//! | `lock` | locked by the daemon that has the journal open |
//! | `header` | the format's version, the secret of the key hashes, the doubt, the oldest and newest segment |
//! | `0000000001.log` | a segment: records in the order of writing; only the newest segment is written |
//! | `0000000001.idx` | the index of a sealed segment, built from its log and rebuilt if it is missing |
//!
//! One thread owns the store. It takes up to 1,024 requests, looks up each send, appends the changed records, syncs
//! once and then replies, so a reply never reports a change that is not durable. A record holds the full state of its
//! send: the newest one is valid, and retention removes whole segments, oldest first.
//!
//! - The header keeps whether records may be missing: in a new directory, after a lost segment or an early removal, beside
//!   other daemons on the queue. The doubt ends with its time, or when all earlier deliveries have been redelivered.
//! - A torn batch at the end of the log is cut at opening. Damage in front of durable records fails with its place.
//! - After a failed write or sync the batch is rolled back, its calls fail, and writing continues in a new segment as
//!   soon as one can be created.
//! - Memory holds the index of the active segment, and two bytes a send of each sealed one.

mod active;
mod bloom;
mod directory;
mod disk;
mod error;
mod files;
mod header;
mod index_file;
mod inspect;
mod key;
mod maintenance;
mod open;
mod record;
mod retention;
mod scan;
mod sealed;
mod settings;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::{fmt, sync::Arc, thread};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

pub use self::{
    error::{OpenError, StorageError},
    inspect::{InspectError, InspectedRecord, JournalStats, inspect_record, inspect_stats},
    settings::FileJournalSettings,
};
use self::{
    key::KeyHash,
    open::DoubtPeriod,
    settings::{FileJournalLimits, FileJournalTuning},
    state::{FileJournalState, WallClock},
    store::Operation,
    writer::{Writer, WriterRequest},
};
use super::event::{EventListener, JournalEvent};
use crate::{
    domain::journal::{AttemptHistory, Doubt, Record, RecordedOutcome, SendKey},
    ports::{Journal, JournalResult, JournalUnavailable},
};

/// The file journal; clones share it.
#[derive(Clone)]
pub struct FileJournal {
    /// Unbounded, but no longer than the number of commands in hand: every caller awaits its reply.
    requests: mpsc::UnboundedSender<WriterRequest>,
    state: Arc<FileJournalState>,
}

impl fmt::Debug for FileJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileJournal").finish_non_exhaustive()
    }
}

impl FileJournal {
    /// Opens the directory; blocks while it reads the newest segment. `listener` is called on the writer's thread and
    /// must not block.
    ///
    /// # Errors
    /// If another daemon has the directory open, or it cannot be read or written, or is damaged.
    pub fn open(
        settings: &FileJournalSettings,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
        listener: impl Fn(JournalEvent<'_>) + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        let tuning = FileJournalTuning::for_size(settings.max_bytes);
        Self::open_with(settings, tuning, Box::new(now), Box::new(listener))
    }

    fn open_with(
        settings: &FileJournalSettings,
        tuning: FileJournalTuning,
        now: Box<WallClock>,
        listener: Box<EventListener>,
    ) -> Result<Self, OpenError> {
        let elapsed = Arc::clone(&tuning.elapsed);
        let limits = FileJournalLimits::from(settings);
        let period = DoubtPeriod { now_ms: now().as_millisecond(), doubt_ms: limits.doubt_ms };
        let store = open::open(&settings.dir, tuning, period, &*listener)?;
        let state = Arc::new(FileJournalState::new(store.dir.header(), now, elapsed));
        let writer = Writer::new(store, limits, Arc::clone(&state), listener);
        #[expect(clippy::disallowed_methods, reason = "bounded by the prefetch: each command in hand awaits its reply")]
        let (sender, receiver) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let spawned = runtime.and_then(|runtime| {
            let run = move || runtime.block_on(writer.run(receiver));
            thread::Builder::new().name("journal".to_owned()).spawn(run)
        });
        spawned.map_err(StorageError::io("start the writer's thread for", &settings.dir))?;
        Ok(Self { requests: sender, state })
    }

    /// Puts the journal in doubt until this process ends, and for a period beyond: other daemons consume from the same
    /// queue, and their attempts are not recorded here.
    pub fn set_shared_queue(&self) {
        self.state.set_shared_queue();
        // Fails only after the journal was closed.
        let _ = self.requests.send(WriterRequest::RecordSharedQueue);
    }

    /// Completes the earlier calls, then closes the directory. Later calls fail.
    pub async fn close(&self) {
        let (closed, reply) = oneshot::channel();
        if self.requests.send(WriterRequest::Close(closed)).is_ok() {
            // An error means that the writer has already ended.
            let _ = reply.await;
        }
    }

    async fn apply(&self, key: &SendKey, operation: Operation) -> JournalResult<Record> {
        let closed = || JournalUnavailable("it has been closed".to_owned());
        let hash = KeyHash::new(key, &self.state.secret);
        let (reply, result) = oneshot::channel();
        self.requests.send(WriterRequest::Apply { hash, operation, reply }).map_err(|_| closed())?;
        result.await.unwrap_or_else(|_| Err(closed()))
    }
}

impl Journal for FileJournal {
    async fn lookup(&self, key: &SendKey) -> JournalResult<Record> {
        self.apply(key, Operation::Lookup).await
    }

    async fn start_attempt(&self, key: &SendKey) -> JournalResult<Record> {
        self.apply(key, Operation::StartAttempt).await
    }

    async fn finish_attempt(&self, key: &SendKey, history: AttemptHistory) -> JournalResult<()> {
        self.apply(key, Operation::FinishAttempt(history)).await.map(drop)
    }

    async fn record_outcome(&self, key: &SendKey, outcome: RecordedOutcome) -> JournalResult<()> {
        let (bytes, max_bytes) = (outcome.event.len(), record::MAX_EVENT_BYTES);
        if bytes > max_bytes {
            return Err(JournalUnavailable(format!(
                "an event of {bytes} bytes exceeds its limit of {max_bytes} bytes"
            )));
        }
        self.apply(key, Operation::RecordOutcome(outcome)).await.map(drop)
    }

    async fn record_letter_stored(&self, key: &SendKey) -> JournalResult<()> {
        self.apply(key, Operation::RecordLetterStored).await.map(drop)
    }

    async fn record_published(&self, key: &SendKey) -> JournalResult<()> {
        let request = WriterRequest::Published(KeyHash::new(key, &self.state.secret));
        self.requests.send(request).map_err(|_| JournalUnavailable("it has been closed".to_owned()))
    }

    async fn record_doubt(&self, key: &SendKey) -> JournalResult<()> {
        self.apply(key, Operation::RecordDoubt).await.map(drop)
    }

    async fn record_unposted(&self, key: &SendKey, history: AttemptHistory) -> JournalResult<()> {
        // In a complete journal the missing record proves as much. On a shared queue another daemon may be the next to post
        // the command, without a record here.
        if self.state.doubt() != Doubt::SoleOwner {
            return Ok(());
        }
        self.apply(key, Operation::RecordUnposted(history)).await.map(drop)
    }

    fn is_complete(&self) -> bool {
        self.state.doubt() == Doubt::None
    }

    fn doubt(&self) -> Doubt {
        self.state.doubt()
    }

    fn end_former_doubt(&self) {
        if self.state.may_end_former_doubt() {
            // Fails after the journal was closed, which the next opening finds in doubt.
            let _ = self.requests.send(WriterRequest::EndFormerDoubt);
        }
    }
}
