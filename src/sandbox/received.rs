//! What arrived: a ring of the last requests, counts of all of them.

use std::{
    collections::{HashMap, VecDeque},
    fmt, mem,
};

use serde::{Deserialize, Serialize};

/// Texts and addresses of the ring together, in bytes, however many requests it may hold.
const MAX_BYTES: usize = 64 << 20;

/// Messages whose attempts are remembered: at least so many of the last, at most twice as many.
const MAX_MESSAGES: usize = 1 << 18;

/// One request, answered or not. Only a `Debug` without contents.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// From 1, in the order of arrival.
    pub sequence: u64,
    /// Whether the message counts as sent to the customer, whatever the caller learned of it.
    pub accepted: bool,
    /// The status answered; `null` when the connection was cut or hangs.
    pub status: Option<u16>,
    /// Which try at this text to this device it was, from 1; `null` when the API itself would have refused the request.
    pub attempt: Option<u32>,
    /// The message; `null`, as the fields below, when the body was malformed.
    pub text: Option<String>,
    /// Its channel.
    pub channel_type: Option<String>,
    /// Its address within the channel.
    pub device_address: Option<String>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, accepted, status, attempt, .. } = self;
        f.debug_struct("Record")
            .field("sequence", sequence)
            .field("accepted", accepted)
            .field("status", status)
            .field("attempt", attempt)
            .finish_non_exhaustive()
    }
}

impl Record {
    fn bytes(&self) -> usize {
        let texts = [&self.text, &self.channel_type, &self.device_address];
        texts.into_iter().flatten().map(String::len).sum()
    }
}

/// Which records to list; empty is all of them. Only a `Debug` without contents.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Filter {
    /// The very address.
    pub device_address: Option<String>,
    /// The text contains it.
    pub text: Option<String>,
    /// At most so many records, the latest; 0 gives the counts alone.
    pub limit: Option<usize>,
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Filter {
    fn fits(&self, record: &Record) -> bool {
        self.device_address.as_ref().is_none_or(|address| record.device_address.as_ref() == Some(address))
            && self.text.as_ref().is_none_or(|part| record.text.as_ref().is_some_and(|text| text.contains(part)))
    }
}

/// The answer of `GET /received`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// All requests so far, also those that the ring has forgotten, whatever the filter.
    pub total: u64,
    /// Those of `total` whose message counts as sent.
    pub accepted: u64,
    /// Records in the ring that fit the filter.
    pub count: usize,
    /// Those records, oldest first, up to the limit.
    pub requests: Vec<Record>,
}

/// The memory of the sandbox.
pub(super) struct Received {
    /// Records that the ring holds; 0 counts only.
    keep: usize,
    ring: VecDeque<Record>,
    bytes: usize,
    total: u64,
    accepted: u64,
    attempts: Attempts,
}

impl Received {
    pub(super) fn new(keep: usize) -> Self {
        Self { keep, ring: VecDeque::new(), bytes: 0, total: 0, accepted: 0, attempts: Attempts::default() }
    }

    /// Counts one more attempt at the message with this key.
    pub(super) fn attempt(&mut self, key: u64) -> u32 {
        self.attempts.next(key)
    }

    /// Takes a request in; `record` is only called when the ring keeps anything.
    pub(super) fn add(&mut self, accepted: bool, record: impl FnOnce(u64) -> Record) {
        self.total = self.total.saturating_add(1);
        self.accepted = self.accepted.saturating_add(u64::from(accepted));
        if self.keep == 0 {
            return;
        }
        let record = record(self.total);
        self.bytes = self.bytes.saturating_add(record.bytes());
        self.ring.push_back(record);
        while self.ring.len() > self.keep || self.bytes > MAX_BYTES {
            let Some(oldest) = self.ring.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.bytes());
        }
    }

    pub(super) fn list(&self, filter: &Filter) -> Listing {
        let fitting = || self.ring.iter().filter(|record| filter.fits(record));
        let count = fitting().count();
        let too_many = count.saturating_sub(filter.limit.unwrap_or(count));
        let requests = fitting().skip(too_many).cloned().collect();
        Listing { total: self.total, accepted: self.accepted, count, requests }
    }

    /// Forgets requests, counts and attempts.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.keep);
    }
}

/// How often each message was tried. Two generations: when the young one is full it becomes the old one, and what was
/// in neither for long is forgotten.
#[derive(Default)]
struct Attempts {
    young: HashMap<u64, u32>,
    old: HashMap<u64, u32>,
}

impl Attempts {
    fn next(&mut self, key: u64) -> u32 {
        let before = self.young.get(&key).or_else(|| self.old.get(&key));
        let attempt = before.map_or(1, |before| before.saturating_add(1));
        if self.young.len() >= MAX_MESSAGES {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, attempt);
        attempt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sequence: u64, text: String) -> Record {
        let (status, attempt, text) = (Some(200), Some(1), Some(text));
        Record { sequence, accepted: true, status, attempt, text, channel_type: None, device_address: None }
    }

    #[test]
    fn the_ring_is_bounded_in_bytes_too() {
        let mut received = Received::new(1000);
        for _ in 0..10 {
            received.add(true, |sequence| record(sequence, "x".repeat(MAX_BYTES / 4)));
        }
        let told = received.list(&Filter::default());
        assert_eq!((told.total, told.count, told.requests[0].sequence), (10, 4, 7));
    }

    #[test]
    fn without_a_ring_requests_are_only_counted() {
        let mut received = Received::new(0);
        received.add(false, |_| unreachable!());
        received.add(true, |_| unreachable!());
        let told = received.list(&Filter::default());
        assert_eq!((told.total, told.accepted, told.count), (2, 1, 0));
    }

    #[test]
    fn old_attempts_are_forgotten_and_recent_ones_are_not() {
        let mut attempts = Attempts::default();
        let messages = MAX_MESSAGES as u64;
        assert_eq!(attempts.next(0), 1);
        let firsts = (1..=messages).filter(|key| attempts.next(*key) == 1).count();
        assert_eq!((firsts, attempts.next(0), attempts.next(messages)), (MAX_MESSAGES, 2, 2));
        for key in messages + 1..=4 * messages {
            attempts.next(key);
        }
        assert_eq!(attempts.next(0), 1);
        assert!(attempts.young.len() <= MAX_MESSAGES && attempts.old.len() <= MAX_MESSAGES);
    }
}
