//! Retention: removes the oldest segment when all its records have expired, or when the journal is too large.

use jiff::Timestamp;

use super::{error::StorageError, key::KeyHash, settings::FileJournalLimits, store::Store};
use crate::journal::event::{EventListener, JournalEvent};

impl Store {
    /// Removes at most one segment. If it had not expired, returns the time until which its records would have been
    /// kept, in ms since 1970.
    ///
    /// Attempts in progress are first recorded again; while that is impossible (`may_write` is false), the only segment
    /// with a record of one stays.
    ///
    /// # Errors
    /// If attempts in progress cannot be recorded again.
    pub(super) fn remove_oldest_segment(
        &mut self,
        now: Timestamp,
        limits: &FileJournalLimits,
        may_write: bool,
        listener: &EventListener,
    ) -> Result<Option<i64>, StorageError> {
        let Some(oldest) = self.sealed.front() else { return Ok(None) };
        let summary = oldest.summary;
        let is_early = now.as_millisecond().saturating_sub(summary.newest_ms) <= limits.retention_ms;
        let in_progress = self.in_progress_only_in(oldest.number);
        if (is_early && self.bytes() <= limits.max_bytes) || !(in_progress.is_empty() || may_write) {
            return Ok(None);
        }
        self.record_again(&in_progress, now)?;
        let Some(oldest) = self.sealed.pop_front() else { return Ok(None) };
        if let Err(error) = oldest.remove(self.dir.path()) {
            listener(JournalEvent::MaintenanceFailed { problem: &error.to_string() });
            self.sealed.push_front(oldest);
            return Ok(None);
        }
        if !is_early {
            return Ok(None);
        }
        let newest = Timestamp::from_millisecond(summary.newest_ms).unwrap_or(now);
        listener(JournalEvent::DroppedEarly { entries: u64::from(summary.entries), newest });
        Ok(Some(summary.newest_ms.saturating_add(limits.retention_ms)))
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
