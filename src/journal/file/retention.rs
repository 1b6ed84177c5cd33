//! Forgetting: the oldest segment goes when all in it is older than the retention, or when there is too much.

use jiff::Timestamp;

use super::{
    Limits,
    fault::Fault,
    key::KeyHash,
    notice::{Notice, Tell},
    store::Store,
};

impl Store {
    /// Removes at most one segment. If it went before its time, tells until when, in ms since 1970, records are missing.
    ///
    /// While the journal cannot be written, a segment stays that alone knows of an attempt under way.
    ///
    /// # Errors
    /// When such attempts cannot be recorded once more.
    pub(super) fn forget(
        &mut self,
        now: Timestamp,
        limits: &Limits,
        may_write: bool,
        tell: &Tell,
    ) -> Result<Option<i64>, Fault> {
        let Some(oldest) = self.sealed.front() else { return Ok(None) };
        let summary = oldest.summary;
        let is_early = now.as_millisecond().saturating_sub(summary.newest_ms) <= limits.retention_ms;
        let under_way = self.under_way_in(oldest.number);
        if (is_early && self.bytes() <= limits.max_bytes) || !(under_way.is_empty() || may_write) {
            return Ok(None);
        }
        self.carry_forward(&under_way, now)?;
        let Some(oldest) = self.sealed.pop_front() else { return Ok(None) };
        if let Err(fault) = oldest.remove(self.dir.path()) {
            tell(Notice::Postponed { why: &fault.to_string() });
            self.sealed.push_front(oldest);
            return Ok(None);
        }
        if !is_early {
            return Ok(None);
        }
        let newest = Timestamp::from_millisecond(summary.newest_ms).unwrap_or(now);
        tell(Notice::DroppedEarly { entries: u64::from(summary.entries), newest });
        Ok(Some(summary.newest_ms.saturating_add(limits.retention_ms)))
    }

    /// Our attempts that are under way and that this segment alone knows of.
    fn under_way_in(&self, number: u64) -> Vec<KeyHash> {
        self.held.iter().filter(|(_, segment)| **segment == number).map(|(hash, _)| *hash).collect()
    }

    /// Records these once more, in the segment that is written.
    fn carry_forward(&mut self, sends: &[KeyHash], now: Timestamp) -> Result<(), Fault> {
        for hash in sends {
            if let Some(entry) = self.find(*hash)? {
                self.put(*hash, now.as_millisecond(), entry.state);
            }
        }
        self.commit()
    }
}
