//! Keeps the books: whether every command reached exactly one end, and the expected one.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::plan::Expected;
use crate::domain::reason::Reason;

/// What was seen of one command.
struct Entry {
    expected: Expected,
    sent_at: Instant,
    events: Vec<String>,
    dead_letters: Vec<String>,
    took: Option<Duration>,
}

/// The books of one run.
#[derive(Default)]
pub(super) struct Account {
    entries: BTreeMap<usize, Entry>,
    done: usize,
    strangers: usize,
}

/// One line of the closing table.
pub(super) struct Row {
    pub(super) outcome: &'static str,
    pub(super) reason: &'static str,
    pub(super) expected: usize,
    pub(super) reached: usize,
    pub(super) p50: Option<Duration>,
    pub(super) p99: Option<Duration>,
}

impl Entry {
    fn is_done(&self) -> bool {
        self.events.len() == usize::from(self.expected.event)
            && self.dead_letters.len() == usize::from(self.expected.reason.is_some())
    }

    fn is_right(&self) -> bool {
        let reason = self.expected.reason.map(Reason::as_str);
        let outcome = self.expected.outcome().as_str();
        self.is_done()
            && self.events.iter().all(|seen| seen == outcome)
            && self.dead_letters.iter().all(|seen| Some(seen.as_str()) == reason)
    }
}

impl Account {
    pub(super) fn sent(&mut self, index: usize, expected: Expected) {
        let entry =
            Entry { expected, sent_at: Instant::now(), events: Vec::new(), dead_letters: Vec::new(), took: None };
        self.entries.insert(index, entry);
    }

    /// An event told this outcome.
    pub(super) fn event(&mut self, index: Option<usize>, outcome: &str) {
        self.seen(index, |entry| {
            entry.events.push(outcome.to_owned());
            entry.took = Some(entry.sent_at.elapsed());
        });
    }

    /// A dead letter arrived with this reason.
    pub(super) fn dead_letter(&mut self, index: Option<usize>, reason: &str) {
        self.seen(index, |entry| entry.dead_letters.push(reason.to_owned()));
    }

    fn seen(&mut self, index: Option<usize>, note: impl FnOnce(&mut Entry)) {
        let Some(entry) = index.and_then(|index| self.entries.get_mut(&index)) else {
            self.strangers += 1;
            return;
        };
        let before = entry.is_done();
        note(entry);
        match (before, entry.is_done()) {
            (false, true) => self.done += 1,
            (true, false) => self.done -= 1,
            _ => {}
        }
    }

    /// How many have all that was expected of them.
    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// Commands that did not reach exactly one end, the expected one; and messages that belong to no command.
    pub(super) fn wrong(&self) -> usize {
        self.entries.values().filter(|entry| !entry.is_right()).count() + self.strangers
    }

    /// A line for each end, in a fixed order; ends that were not expected of any command are left out.
    pub(super) fn rows(&self) -> Vec<Row> {
        let reasons = [None].into_iter().chain(Reason::ALL.map(Some));
        reasons.filter_map(|reason| self.row(reason)).collect()
    }

    fn row(&self, reason: Option<Reason>) -> Option<Row> {
        let entries: Vec<_> = self.entries.values().filter(|entry| entry.expected.reason == reason).collect();
        let expected = entries.first()?.expected;
        Some(Row {
            outcome: expected.outcome().as_str(),
            reason: reason.map_or("", Reason::as_str),
            expected: entries.len(),
            reached: entries.iter().filter(|entry| entry.is_right()).count(),
            p50: percentile(entries.iter().filter_map(|entry| entry.took), 50),
            p99: percentile(entries.iter().filter_map(|entry| entry.took), 99),
        })
    }

    /// The time from command to event, over all of them.
    pub(super) fn percentile(&self, percent: usize) -> Option<Duration> {
        percentile(self.entries.values().filter_map(|entry| entry.took), percent)
    }
}

fn percentile(times: impl Iterator<Item = Duration>, percent: usize) -> Option<Duration> {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    let rank = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(rank).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUCCESS: Expected = Expected { reason: None, event: true };
    const REJECTED: Expected = Expected { reason: Some(Reason::Rejected), event: true };
    const UNREADABLE: Expected = Expected { reason: Some(Reason::Malformed), event: false };

    fn account() -> Account {
        let mut account = Account::default();
        for (index, expected) in [SUCCESS, REJECTED, UNREADABLE].into_iter().enumerate() {
            account.sent(index, expected);
        }
        account
    }

    #[test]
    fn every_end_must_be_reached_once_as_expected() {
        let mut account = account();
        assert_eq!((account.done(), account.wrong()), (0, 3));
        account.event(Some(0), "succeeded");
        account.event(Some(1), "failed");
        assert_eq!((account.done(), account.wrong()), (1, 2), "a dead letter is missing");
        account.dead_letter(Some(1), "rejected");
        account.dead_letter(Some(2), "malformed");
        assert_eq!((account.done(), account.wrong()), (3, 0));
    }

    #[test]
    fn a_second_end_another_end_and_a_stranger_are_wrong() {
        let mut twice = account();
        twice.event(Some(0), "succeeded");
        twice.event(Some(0), "succeeded");
        assert_eq!((twice.done(), twice.wrong()), (0, 3));
        let mut other = account();
        other.event(Some(0), "failed");
        assert_eq!((other.done(), other.wrong()), (1, 3));
        let mut stranger = account();
        stranger.event(None, "succeeded");
        assert_eq!(stranger.wrong(), 4);
    }

    #[test]
    fn percentiles_are_times_that_occurred() {
        let times = || (1..=100).map(Duration::from_millis);
        assert_eq!(percentile(times(), 50), Some(Duration::from_millis(50)));
        assert_eq!(percentile(times(), 99), Some(Duration::from_millis(99)));
        assert_eq!(percentile(times().take(1), 99), Some(Duration::from_millis(1)));
        assert_eq!(percentile(times().take(0), 99), None);
    }
}
