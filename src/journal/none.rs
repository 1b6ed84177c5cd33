//! No journal: nothing is remembered, so a command that comes twice is posted twice.

use crate::{
    domain::journal::{Ended, Record, SendKey},
    ports::{Journal, JournalResult},
};

/// Remembers nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoJournal;

impl Journal for NoJournal {
    async fn lookup(&self, _: &SendKey) -> JournalResult<Record> {
        Ok(Record::Unknown)
    }

    async fn start(&self, _: &SendKey) -> JournalResult<Record> {
        Ok(Record::Unknown)
    }

    async fn release(&self, _: &SendKey, _: bool) -> JournalResult<()> {
        Ok(())
    }

    async fn end(&self, _: &SendKey, _: Ended) -> JournalResult<()> {
        Ok(())
    }

    async fn letter_stored(&self, _: &SendKey) -> JournalResult<()> {
        Ok(())
    }

    fn is_complete(&self) -> bool {
        false
    }

    fn remembers(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::contract::{ended, key};

    #[tokio::test]
    async fn remembers_nothing_and_says_so() {
        assert_eq!(NoJournal.start(&key("a")).await, Ok(Record::Unknown));
        assert_eq!(NoJournal.end(&key("a"), ended("{}")).await, Ok(()));
        assert_eq!(NoJournal.start(&key("a")).await, Ok(Record::Unknown));
        assert!(!NoJournal.is_complete());
    }
}
