//! What the ports of several tests share.

use crate::{
    domain::journal::{AttemptHistory, Record, RecordedOutcome, SendKey},
    ports::{Journal, JournalResult},
};

/// A complete journal without records, for tests without crashes and redeliveries.
#[derive(Clone)]
pub(super) struct EmptyJournal;

impl Journal for EmptyJournal {
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
        true
    }
}

/// Implements `Ports` for a type that is each port itself, but for the journal.
macro_rules! impl_ports {
    ($ports:ty, journal: $journal:ty = $get_journal:expr) => {
        impl crate::ports::Ports for $ports {
            type Sender = Self;
            type Outbox = Self;
            type Settler = Self;
            type Journal = $journal;
            type Clock = Self;
            type Random = Self;

            fn sender(&self) -> &Self {
                self
            }
            fn outbox(&self) -> &Self {
                self
            }
            fn settler(&self) -> &Self {
                self
            }
            fn journal(&self) -> &$journal {
                let get: fn(&Self) -> &$journal = $get_journal;
                get(self)
            }
            fn clock(&self) -> &Self {
                self
            }
            fn random(&self) -> &Self {
                self
            }
        }
    };
}
pub(super) use impl_ports;
