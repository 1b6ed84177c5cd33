//! The journal `none`: records nothing, so a redelivered command is posted again.

use crate::{
    domain::journal::{AttemptHistory, Record, RecordedOutcome, SendKey},
    ports::{Journal, JournalResult},
};

/// A journal without records.
#[derive(Clone, Copy, Debug)]
pub struct NoJournal;

impl Journal for NoJournal {
    async fn lookup(&self, _: &SendKey) -> JournalResult<Record> {
        Ok(Record::Unknown)
    }

    async fn start_attempt(&self, _: &SendKey) -> JournalResult<Record> {
        Ok(Record::Unknown)
    }

    async fn finish_attempt(&self, _: &SendKey, _: AttemptHistory) -> JournalResult<()> {
        Ok(())
    }

    async fn record_outcome(&self, _: &SendKey, _: RecordedOutcome) -> JournalResult<()> {
        Ok(())
    }

    async fn record_letter_stored(&self, _: &SendKey) -> JournalResult<()> {
        Ok(())
    }

    async fn record_published(&self, _: &SendKey) -> JournalResult<()> {
        Ok(())
    }

    async fn record_doubt(&self, _: &SendKey) -> JournalResult<()> {
        Ok(())
    }

    fn is_complete(&self) -> bool {
        false
    }

    fn is_enabled(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::contract::{key, outcome};

    #[tokio::test]
    async fn no_journal_records_nothing_and_is_incomplete() {
        assert_eq!(NoJournal.start_attempt(&key("a")).await, Ok(Record::Unknown));
        assert_eq!(NoJournal.record_outcome(&key("a"), outcome("{}")).await, Ok(()));
        assert_eq!(NoJournal.start_attempt(&key("a")).await, Ok(Record::Unknown));
        assert!(!NoJournal.is_complete());
    }
}
