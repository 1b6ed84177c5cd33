//! The embedded journal: a segmented log in one directory, with group commit, for one daemon.
//!
//! | file | what |
//! |---|---|
//! | `lock` | held by the daemon that has the journal open |
//! | `header` | the secret of the key hashes |
//! | `0000000001.log` | a segment: records, oldest first; only the newest one is written |
//! | `0000000001.idx` | the index of a sealed segment, made from its log, made again if it is missing |
//!
//! One thread owns all of it. It takes what is asked, up to a thousand at a time, looks each send up, appends what changes,
//! waits for the disk once, and answers: nobody is told what is not durable. A record holds all that is known of its send, so
//! the newest one holds, and forgetting is removing the oldest segment.
//!
//! - A torn batch at the end is cut at opening. Damage before that, where all was durable once, is refused with the place.
//! - After a failed write or sync the batch is taken back, everybody is told, and writing goes on in a new file when that
//!   can be made.
//! - In memory are the segment that is written, and of each sealed one two bytes a send.

mod directory;
mod disk;
mod fault;
mod filter;
mod index;
mod key;
mod notice;
mod open;
mod read;
mod record;
mod retention;
mod scan;
mod sealed;
mod segment;
mod store;
#[cfg(test)]
mod tests;
mod upkeep;
mod writer;

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use self::{
    disk::{Disk, SystemDisk},
    key::KeyHash,
    store::Ask,
    writer::{Message, Writer},
};
pub use self::{
    fault::{Fault, OpenError},
    notice::Notice,
    read::{Shown, Stats, Unreadable, show, stats},
};
use crate::{
    domain::journal::{Record, RecordedOutcome, SendKey},
    ports::{Journal, JournalResult, JournalUnavailable},
};

/// What nobody has written down was handed out again by then: so long a journal that knows nothing of it is in doubt.
const DOUBT_MS: i64 = 3_600_000;

/// What the user sets.
#[derive(Clone, Debug)]
pub struct FileJournalSettings {
    /// The directory; made if it is missing.
    pub dir: PathBuf,
    /// How long a send is remembered at least.
    pub retention: Duration,
    /// How large it may become before the oldest records go early. Needed beside it: room for two segments.
    pub max_bytes: u64,
}

/// What nobody sets but tests.
#[derive(Clone)]
struct Tuning {
    segment_bytes: u32,
    segment_entries: usize,
    tick: Duration,
    disk: Arc<dyn Disk>,
    /// What has passed since some moment, whatever the clock shows.
    elapsed: Arc<Elapsed>,
}

impl Tuning {
    /// Segments small enough to be read at every start, and to be forgotten one by one.
    fn for_size(max_bytes: u64) -> Self {
        let segment_bytes = u32::try_from(max_bytes / 8).unwrap_or(u32::MAX).clamp(1 << 20, 128 << 20);
        let began = Instant::now();
        Self {
            segment_bytes,
            segment_entries: 256 << 10,
            tick: writer::TICK,
            disk: Arc::new(SystemDisk),
            elapsed: Arc::new(move || began.elapsed()),
        }
    }
}

/// The settings, as the writer needs them.
#[derive(Clone, Copy, Debug)]
struct Limits {
    retention_ms: i64,
    max_bytes: u64,
}

type Now = dyn Fn() -> Timestamp + Send + Sync;
type Elapsed = dyn Fn() -> Duration + Send + Sync;

/// The embedded journal; clones share it.
#[derive(Clone)]
pub struct FileJournal {
    messages: mpsc::UnboundedSender<Message>,
    shared: Arc<Shared>,
}

impl fmt::Debug for FileJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileJournal").finish_non_exhaustive()
    }
}

/// What the handles and the writer both know.
struct Shared {
    secret: [u8; 16],
    now: Box<Now>,
    elapsed: Arc<Elapsed>,
    /// What both showed at the opening.
    opened: (Timestamp, Duration),
    /// Nothing is known to be missing.
    is_complete: AtomicBool,
    /// Until then, in ms since 1970, records are missing that went early.
    incomplete_until_ms: AtomicI64,
}

impl Shared {
    /// What age is counted by: the clock, but no further than the time that we saw pass. A clock that is set ahead would else
    /// make everything old at once.
    fn aged_to(&self) -> Timestamp {
        let (clock, passed) = self.opened;
        let seen = clock.checked_add((self.elapsed)().saturating_sub(passed));
        seen.unwrap_or(Timestamp::MAX).min((self.now)())
    }

    fn incomplete_until(&self, until_ms: i64) {
        self.incomplete_until_ms.fetch_max(until_ms, Ordering::Relaxed);
    }
}

impl FileJournal {
    /// Opens the directory; blocks for as long as reading the newest segment takes. `tell` is called from the writer's
    /// thread and must not wait.
    ///
    /// # Errors
    /// When another daemon has the directory, or it cannot be read or written, or is damaged.
    pub fn open(
        settings: &FileJournalSettings,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
        tell: impl Fn(Notice<'_>) + Send + 'static,
    ) -> Result<Self, OpenError> {
        Self::open_with(settings, Tuning::for_size(settings.max_bytes), Box::new(now), Box::new(tell))
    }

    fn open_with(
        settings: &FileJournalSettings,
        tuning: Tuning,
        now: Box<Now>,
        tell: Box<notice::Tell>,
    ) -> Result<Self, OpenError> {
        let elapsed = Arc::clone(&tuning.elapsed);
        let opened = open::open(&settings.dir, tuning, &*tell)?;
        let shared = Arc::new(Shared {
            secret: opened.store.dir.secret(),
            opened: (now(), elapsed()),
            now,
            elapsed,
            is_complete: AtomicBool::new(true),
            incomplete_until_ms: AtomicI64::new(i64::MIN),
        });
        if !opened.is_complete {
            shared.incomplete_until((shared.now)().as_millisecond().saturating_add(DOUBT_MS));
        }
        let retention_ms = i64::try_from(settings.retention.as_millis()).unwrap_or(i64::MAX);
        let limits = Limits { retention_ms, max_bytes: settings.max_bytes };
        let writer = Writer::new(opened.store, limits, Arc::clone(&shared), tell);
        // Unbounded, yet never longer than what is in hand: who asks waits for the answer.
        let (sender, receiver) = mpsc::unbounded_channel();
        let of_thread = Fault::io("start the writer's thread for", &settings.dir);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let spawned = runtime.and_then(|runtime| {
            let run = move || runtime.block_on(writer.run(receiver));
            thread::Builder::new().name("journal".to_owned()).spawn(run)
        });
        spawned.map_err(of_thread)?;
        Ok(Self { messages: sender, shared })
    }

    /// Other daemons take commands from the same queue: what they started is not on record here.
    pub fn others_take_commands(&self) {
        self.shared.is_complete.store(false, Ordering::Relaxed);
    }

    /// Answers what was asked before, then closes the directory; whoever asks afterwards is told that it is unavailable.
    pub async fn close(&self) {
        let (closed, answer) = oneshot::channel();
        if self.messages.send(Message::Close(closed)).is_ok() {
            // An error means that the writer has ended already.
            let _ = answer.await;
        }
    }

    async fn ask(&self, key: &SendKey, ask: Ask) -> JournalResult<Record> {
        let closed = || JournalUnavailable("it has been closed".to_owned());
        let hash = KeyHash::of(key, &self.shared.secret);
        let (reply, answer) = oneshot::channel();
        self.messages.send(Message::Ask { hash, ask, reply }).map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }
}

impl Journal for FileJournal {
    async fn lookup(&self, key: &SendKey) -> JournalResult<Record> {
        self.ask(key, Ask::Look).await
    }

    async fn start_attempt(&self, key: &SendKey) -> JournalResult<Record> {
        self.ask(key, Ask::Start).await
    }

    async fn finish_attempt(&self, key: &SendKey, uncertain: bool) -> JournalResult<()> {
        self.ask(key, Ask::Release { uncertain }).await.map(drop)
    }

    async fn record_outcome(&self, key: &SendKey, ended: RecordedOutcome) -> JournalResult<()> {
        if ended.event.len() > record::MAX_EVENT {
            return Err(JournalUnavailable(format!("an event of {} bytes is too long for it", ended.event.len())));
        }
        self.ask(key, Ask::End(ended)).await.map(drop)
    }

    async fn record_letter_stored(&self, key: &SendKey) -> JournalResult<()> {
        self.ask(key, Ask::LetterStored).await.map(drop)
    }

    fn is_complete(&self) -> bool {
        let until_ms = self.shared.incomplete_until_ms.load(Ordering::Relaxed);
        self.shared.is_complete.load(Ordering::Relaxed) && self.shared.aged_to().as_millisecond() > until_ms
    }
}
