//! A journal with a faulty disk, controlled clocks, and recorded events.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{faulty_disk::FaultyDisk, temp_dir::JournalTempDir};
use crate::{
    journal::{
        JournalEvent,
        file::{FileJournal, FileJournalSettings, OpenError, directory, settings::FileJournalTuning},
        tests::contract::{key, outcome},
    },
    ports::Journal,
};

/// The wall clock's first value.
pub(super) const BEGIN_MS: i64 = 1_800_000_000_000;

const TIMEOUT: Duration = Duration::from_secs(20);

/// Segments of a few records, so that every test uses many.
pub(super) fn tiny_segments() -> FileJournalTuning {
    FileJournalTuning {
        segment_entries: 5,
        maintenance_interval: Duration::from_millis(5),
        ..FileJournalTuning::for_size(1 << 30)
    }
}

/// A journal's directory, disk and clocks.
pub(super) struct FileJournalFixture {
    pub(super) dir: JournalTempDir,
    pub(super) disk: Arc<FaultyDisk>,
    pub(super) tuning: FileJournalTuning,
    pub(super) settings: FileJournalSettings,
    clock_ms: Arc<AtomicI64>,
    elapsed_ms: Arc<AtomicU64>,
    events: (mpsc::Sender<String>, mpsc::Receiver<String>),
}

impl FileJournalFixture {
    pub(super) fn new() -> Self {
        Self::at(JournalTempDir::new())
    }

    pub(super) fn at(dir: JournalTempDir) -> Self {
        let disk = Arc::new(FaultyDisk::default());
        let (clock_ms, elapsed_ms) = (Arc::new(AtomicI64::new(BEGIN_MS)), Arc::new(AtomicU64::new(0)));
        let read_elapsed = Arc::clone(&elapsed_ms);
        let elapsed = Arc::new(move || Duration::from_millis(read_elapsed.load(Ordering::Relaxed)));
        let tuning = FileJournalTuning { disk: Arc::<FaultyDisk>::clone(&disk), elapsed, ..tiny_segments() };
        Self { settings: dir.settings(), dir, disk, tuning, clock_ms, elapsed_ms, events: mpsc::channel() }
    }

    /// The fixture after a crash now, without faults.
    pub(super) fn crash(&self) -> Self {
        let mut fixture = Self::at(self.dir.copy());
        fixture.tuning.segment_entries = self.tuning.segment_entries;
        fixture.advance(Duration::from_millis(self.clock_ms.load(Ordering::Relaxed).abs_diff(BEGIN_MS)));
        fixture
    }

    /// Uses one segment for all records.
    pub(super) fn with_one_segment(mut self) -> Self {
        self.tuning.segment_entries = 100_000;
        self
    }

    pub(super) fn try_open(&self) -> Result<FileJournal, OpenError> {
        let (clock_ms, events) = (Arc::clone(&self.clock_ms), self.events.0.clone());
        let now = move || Timestamp::from_millisecond(clock_ms.load(Ordering::Relaxed)).expect("a time");
        let listener = move |event: JournalEvent<'_>| drop(events.send(format!("{event:?}")));
        FileJournal::open_with(&self.settings, self.tuning.clone(), Box::new(now), Box::new(listener))
    }

    pub(super) fn open(&self) -> FileJournal {
        self.try_open().expect("a journal")
    }

    /// Adds this number of finished sends, one batch each, to a journal without doubt, and closes it.
    pub(super) async fn with_finished_sends(self, sends: usize) -> Self {
        let journal = self.open();
        self.end_doubt(&journal);
        for number in 0..sends {
            journal.record_outcome(&key(&format!("id-{number}")), outcome("{}")).await.expect("available");
        }
        journal.close().await;
        self
    }

    /// Ends the doubt of an open journal, as the daemon does when every earlier delivery is on record.
    pub(super) fn end_doubt(&self, journal: &FileJournal) {
        journal.end_former_doubt();
        self.wait_for_event("DoubtEnded");
    }

    /// Advances both clocks.
    pub(super) fn advance(&self, time: Duration) {
        self.elapsed_ms.fetch_add(u64::try_from(time.as_millis()).expect("ms"), Ordering::Relaxed);
        self.set_clock_ahead(time);
    }

    /// Advances only the wall clock.
    pub(super) fn set_clock_ahead(&self, time: Duration) {
        self.clock_ms.fetch_add(i64::try_from(time.as_millis()).expect("ms"), Ordering::Relaxed);
    }

    /// Waits for an event whose text contains this word.
    pub(super) fn wait_for_event(&self, word: &str) -> String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.events.1.recv_timeout(left).unwrap_or_else(|_| panic!("no event with {word}"));
            if event.contains(word) {
                return event;
            }
        }
    }

    /// Checks the condition after each maintenance until it holds.
    pub(super) fn wait_until(&self, condition: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + TIMEOUT;
        while !holds() {
            assert!(Instant::now() < deadline, "timed out: {condition}");
            self.wait_for_event("Size");
        }
    }

    /// Takes the events since the last call, without the regular figures.
    pub(super) fn take_events(&self) -> Vec<String> {
        let is_figure = |event: &str| event.starts_with("Size") || event.starts_with("Committed");
        self.events.1.try_iter().filter(|event| !is_figure(event)).collect()
    }

    pub(super) fn segments(&self) -> Vec<u64> {
        directory::segment_numbers(self.dir.path()).expect("segments")
    }

    pub(super) fn log(&self, number: u64) -> PathBuf {
        directory::log_path(self.dir.path(), number)
    }

    pub(super) fn index(&self, number: u64) -> PathBuf {
        directory::index_path(self.dir.path(), number)
    }
}
