//! A journal with a disk that fails when told to, a clock that stands still, and everything it tells.

use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{Place, tiny};
use crate::journal::file::{
    FileJournal, FileJournalSettings, OpenError, Tuning, directory,
    disk::{Disk, SystemDisk},
};

/// What the clock shows at first.
pub(super) const BEGIN_MS: i64 = 1_800_000_000_000;

const PATIENCE: Duration = Duration::from_secs(20);

/// What the disk does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mood {
    #[default]
    Fine,
    /// Half of what is written finds room.
    Full,
    /// Takes all and cannot say that it has it.
    Broken,
    /// A sync does not return.
    Stuck,
}

#[derive(Default)]
struct Seen {
    mood: Mood,
    /// A sync waits for a better mood.
    is_stuck: bool,
    /// Something was written after the last sync.
    is_dirty: bool,
}

/// The system's disk with moods.
#[derive(Default)]
pub(super) struct MoodyDisk {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl MoodyDisk {
    pub(super) fn set(&self, mood: Mood) {
        self.seen.lock().expect("a lock").mood = mood;
        self.changed.notify_all();
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.seen.lock().expect("a lock").is_dirty
    }

    /// Waits until a sync is stuck.
    pub(super) fn until_stuck(&self) {
        let seen = self.seen.lock().expect("a lock");
        let waited = self.changed.wait_timeout_while(seen, PATIENCE, |seen| !seen.is_stuck).expect("a lock");
        assert!(!waited.1.timed_out(), "nothing has reached the disk");
    }
}

impl Disk for MoodyDisk {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut seen = self.seen.lock().expect("a lock");
        seen.is_dirty = true;
        if seen.mood == Mood::Full {
            SystemDisk.write(file, &bytes[..bytes.len() / 2], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        SystemDisk.write(file, bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let mut seen = self.seen.lock().expect("a lock");
        seen.is_stuck = seen.mood == Mood::Stuck;
        self.changed.notify_all();
        let mut seen = self.changed.wait_while(seen, |seen| seen.mood == Mood::Stuck).expect("a lock");
        if seen.mood == Mood::Broken {
            return Err(io::Error::other("input/output error"));
        }
        (seen.is_stuck, seen.is_dirty) = (false, false);
        SystemDisk.sync(file)
    }
}

/// Everything around a journal.
pub(super) struct World {
    pub(super) place: Place,
    pub(super) disk: Arc<MoodyDisk>,
    pub(super) tuning: Tuning,
    pub(super) settings: FileJournalSettings,
    clock_ms: Arc<AtomicI64>,
    /// What has passed, whatever the clock shows.
    passed_ms: Arc<AtomicU64>,
    told: (mpsc::Sender<String>, mpsc::Receiver<String>),
}

impl World {
    pub(super) fn new() -> Self {
        Self::at(Place::new())
    }

    pub(super) fn at(place: Place) -> Self {
        let disk = Arc::new(MoodyDisk::default());
        let (clock_ms, passed_ms) = (Arc::new(AtomicI64::new(BEGIN_MS)), Arc::new(AtomicU64::new(0)));
        let passed = Arc::clone(&passed_ms);
        let elapsed = Arc::new(move || Duration::from_millis(passed.load(Ordering::Relaxed)));
        let tuning = Tuning { disk: Arc::<MoodyDisk>::clone(&disk), elapsed, ..tiny() };
        Self { settings: place.settings(), place, disk, tuning, clock_ms, passed_ms, told: mpsc::channel() }
    }

    /// The world that a crash now would leave, with a disk that is well.
    pub(super) fn crash(&self) -> Self {
        let mut world = Self::at(self.place.copy());
        world.tuning.segment_entries = self.tuning.segment_entries;
        world.pass(Duration::from_millis(self.clock_ms.load(Ordering::Relaxed).abs_diff(BEGIN_MS)));
        world
    }

    /// One segment for all.
    pub(super) fn large(mut self) -> Self {
        self.tuning.segment_entries = 100_000;
        self
    }

    pub(super) fn try_open(&self) -> Result<FileJournal, OpenError> {
        let (clock_ms, told) = (Arc::clone(&self.clock_ms), self.told.0.clone());
        let now = move || Timestamp::from_millisecond(clock_ms.load(Ordering::Relaxed)).expect("a time");
        let tell = move |notice: crate::journal::Notice<'_>| drop(told.send(format!("{notice:?}")));
        FileJournal::open_with(&self.settings, self.tuning.clone(), Box::new(now), Box::new(tell))
    }

    pub(super) fn open(&self) -> FileJournal {
        self.try_open().expect("a journal")
    }

    pub(super) fn pass(&self, time: Duration) {
        self.passed_ms.fetch_add(u64::try_from(time.as_millis()).expect("ms"), Ordering::Relaxed);
        self.jump(time);
    }

    /// The clock is set ahead.
    pub(super) fn jump(&self, time: Duration) {
        self.clock_ms.fetch_add(i64::try_from(time.as_millis()).expect("ms"), Ordering::Relaxed);
    }

    /// Waits until it has told something with this word in it.
    pub(super) fn until_told(&self, word: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let told = self.told.1.recv_timeout(left).unwrap_or_else(|_| panic!("it has not told {word}"));
            if told.contains(word) {
                return told;
            }
        }
    }

    /// Looks at every upkeep whether this holds by now.
    pub(super) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            self.until_told("Holds");
        }
    }

    /// What it has told since the last time, but for the regular figures.
    pub(super) fn told(&self) -> Vec<String> {
        let is_news = |told: &String| !told.starts_with("Holds") && !told.starts_with("Wrote");
        self.told.1.try_iter().filter(is_news).collect()
    }

    pub(super) fn segments(&self) -> Vec<u64> {
        directory::segments(&self.place.0).expect("segments")
    }

    pub(super) fn log(&self, number: u64) -> PathBuf {
        directory::log_path(&self.place.0, number)
    }

    pub(super) fn index(&self, number: u64) -> PathBuf {
        directory::index_path(&self.place.0, number)
    }
}
