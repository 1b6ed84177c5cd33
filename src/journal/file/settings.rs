//! The settings of the file journal, the limits derived from them, and the tuning that only tests change.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use super::disk::{Disk, SystemDisk};

/// The interval of maintenance, and of retries after a failure.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);

/// With a short retention, too, the broker must have the time to redeliver what a lost journal had on record.
const MIN_DOUBT_MS: i64 = 3_600_000;

/// The user's settings of the file journal.
#[derive(Clone, Debug)]
pub struct FileJournalSettings {
    /// The directory; created if it is missing.
    pub dir: PathBuf,
    /// The least time for which records are kept.
    pub retention: Duration,
    /// The size on disk above which the oldest segment is removed early. Two more segments of space are needed.
    pub max_bytes: u64,
}

/// The retention and size limits in the writer's units.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileJournalLimits {
    pub(super) retention_ms: i64,
    /// How long a new journal, or one with lost records, is in doubt: as long as records are kept.
    pub(super) doubt_ms: i64,
    pub(super) max_bytes: u64,
}

impl From<&FileJournalSettings> for FileJournalLimits {
    fn from(settings: &FileJournalSettings) -> Self {
        let retention_ms = i64::try_from(settings.retention.as_millis()).unwrap_or(i64::MAX);
        Self { retention_ms, doubt_ms: retention_ms.max(MIN_DOUBT_MS), max_bytes: settings.max_bytes }
    }
}

/// A monotonic clock: the time since an arbitrary moment.
pub(super) type MonotonicClock = dyn Fn() -> Duration + Send + Sync;

/// Constants that tests replace.
#[derive(Clone)]
pub(super) struct FileJournalTuning {
    pub(super) segment_bytes: u32,
    pub(super) segment_entries: usize,
    pub(super) maintenance_interval: Duration,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) elapsed: Arc<MonotonicClock>,
}

impl FileJournalTuning {
    /// Makes segments small enough that the newest is read quickly at every start and that retention works in small
    /// steps.
    pub(super) fn for_size(max_bytes: u64) -> Self {
        let segment_bytes = u32::try_from(max_bytes / 8).unwrap_or(u32::MAX).clamp(1 << 20, 128 << 20);
        let began = Instant::now();
        Self {
            segment_bytes,
            segment_entries: 256 << 10,
            maintenance_interval: MAINTENANCE_INTERVAL,
            disk: Arc::new(SystemDisk),
            elapsed: Arc::new(move || began.elapsed()),
        }
    }
}
