//! Retention: removes the oldest segment when all its records have expired, or when the journal is too large.

use jiff::Timestamp;

use super::{error::StorageError, key::KeyHash, sealed, settings::FileJournalLimits, store::Store};
use crate::journal::event::{EventListener, JournalEvent};

impl Store {
    /// Removes at most one segment. If it had not expired, the journal is in doubt, also when that cannot be recorded.
    ///
    /// Attempts in progress are first recorded again; while that is impossible (`may_write` is false), the only segment
    /// with a record of one stays.
    ///
    /// # Errors
    /// If attempts in progress cannot be recorded again, or the removal cannot be recorded.
    pub(super) fn remove_oldest_segment(
        &mut self,
        now: Timestamp,
        limits: &FileJournalLimits,
        may_write: bool,
        listener: &EventListener,
    ) -> Result<(), StorageError> {
        let Some(oldest) = self.sealed.front() else { return Ok(()) };
        let summary = oldest.summary;
        let is_early = now.as_millisecond().saturating_sub(summary.newest_ms) <= limits.retention_ms;
        let in_progress = self.in_progress_only_in(oldest.number);
        if (is_early && self.bytes() <= limits.max_bytes) || !(in_progress.is_empty() || may_write) {
            return Ok(());
        }
        self.record_again(&in_progress, now)?;
        let kept_until_ms = if is_early { summary.newest_ms.saturating_add(limits.retention_ms) } else { i64::MIN };
        let doubt_until_ms = kept_until_ms.max(self.dropped_until_ms);
        let Some(oldest) = self.sealed.pop_front() else { return Ok(()) };
        // Before the removal: a crash in between must not look like a lost segment. On a full disk this fails, and the
        // removal frees the space.
        let recorded = self.record_removal(doubt_until_ms);
        if let Err(error) = oldest.remove(self.dir.path()) {
            listener(JournalEvent::MaintenanceFailed { problem: &error.to_string() });
            self.sealed.push_front(oldest);
            return Ok(());
        }
        // Kept here, too: if the header cannot be written now, the next change of it records the doubt.
        self.dropped_until_ms = doubt_until_ms;
        if is_early {
            let newest = Timestamp::from_millisecond(summary.newest_ms).unwrap_or(now);
            listener(JournalEvent::DroppedEarly { entries: u64::from(summary.entries), newest });
        }
        recorded.or_else(|_| self.record_removal(doubt_until_ms))
    }

    /// Records the oldest segment that is left, and until when the journal is in doubt.
    fn record_removal(&mut self, doubt_until_ms: i64) -> Result<(), StorageError> {
        let oldest = self.sealed.front().map_or(self.active.number, |segment| segment.number);
        let segments = sealed::segment_count(&self.sealed);
        self.dir.update_header(|header| {
            (header.oldest, header.segments) = (oldest, segments);
            header.doubt_until_ms = header.doubt_until_ms.max(doubt_until_ms);
        })
    }

    /// This session's attempts in progress whose only record is in this segment.
    fn in_progress_only_in(&self, number: u64) -> Vec<KeyHash> {
        self.in_progress.iter().filter(|(_, segment)| **segment == number).map(|(hash, _)| *hash).collect()
    }

    /// Copies the records of these sends to the active segment.
    fn record_again(&mut self, sends: &[KeyHash], now: Timestamp) -> Result<(), StorageError> {
        for hash in sends {
            if let Some(record) = self.find(*hash)? {
                self.put(*hash, now.as_millisecond(), record.state);
            }
        }
        self.commit()
    }
}
