//! Received requests: a ring of the latest ones and counts of all.

use std::{
    collections::{HashMap, VecDeque},
    fmt, mem,
};

use serde::{Deserialize, Serialize};

/// Maximum size of the ring's texts and addresses, in bytes.
const MAX_BYTES: usize = 64 << 20;

/// Messages whose attempts are counted: at least the last `MAX_MESSAGES`, at most twice as many.
const MAX_MESSAGES: usize = 1 << 18;

/// One request. Its `Debug` omits texts and addresses.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceivedRequest {
    /// The order of arrival, from 1.
    pub sequence: u64,
    /// Whether the message counts as sent to the customer, whatever the response was.
    pub accepted: bool,
    /// The response status; `null` if the connection was cut or the request hangs.
    pub status: Option<u16>,
    /// The number of the attempt at this text to this device, from 1; `null` if the API would refuse the request.
    pub attempt: Option<u32>,
    /// The message's text; `null`, like the fields below, if the body is malformed.
    pub text: Option<String>,
    /// The channel type.
    pub channel_type: Option<String>,
    /// The device address.
    pub device_address: Option<String>,
}

impl fmt::Debug for ReceivedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, accepted, status, attempt, .. } = self;
        f.debug_struct("ReceivedRequest")
            .field("sequence", sequence)
            .field("accepted", accepted)
            .field("status", status)
            .field("attempt", attempt)
            .finish_non_exhaustive()
    }
}

impl ReceivedRequest {
    fn bytes(&self) -> usize {
        let texts = [&self.text, &self.channel_type, &self.device_address];
        texts.into_iter().flatten().map(String::len).sum()
    }
}

/// Selects requests; the default selects all. Its `Debug` omits texts and addresses.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ReceivedFilter {
    /// Equals the device address.
    pub device_address: Option<String>,
    /// Is contained in the text.
    pub text: Option<String>,
    /// Maximum number of requests, the latest ones; 0 lists the counts only.
    pub limit: Option<usize>,
}

impl fmt::Debug for ReceivedFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedFilter").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl ReceivedFilter {
    fn matches(&self, request: &ReceivedRequest) -> bool {
        self.device_address.as_ref().is_none_or(|address| request.device_address.as_ref() == Some(address))
            && self.text.as_ref().is_none_or(|part| request.text.as_ref().is_some_and(|text| text.contains(part)))
    }
}

/// The response body of `GET /received`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// All requests so far, whatever the filter, including those no longer in the ring.
    pub total: u64,
    /// Those of `total` whose message counts as sent.
    pub accepted: u64,
    /// Requests in the ring that match the filter.
    pub count: usize,
    /// The latest of them up to the limit, oldest first.
    pub requests: Vec<ReceivedRequest>,
}

/// The received requests and their counts.
pub(super) struct ReceivedLog {
    /// Maximum number of requests in the ring; 0 keeps the counts only.
    keep: usize,
    ring: VecDeque<ReceivedRequest>,
    bytes: usize,
    total: u64,
    accepted: u64,
    attempts: AttemptCounts,
}

impl ReceivedLog {
    pub(super) fn new(keep: usize) -> Self {
        Self { keep, ring: VecDeque::new(), bytes: 0, total: 0, accepted: 0, attempts: AttemptCounts::default() }
    }

    /// Counts an attempt at the message with this key; returns its number, from 1.
    pub(super) fn count_attempt(&mut self, key: u64) -> u32 {
        self.attempts.count(key)
    }

    /// Adds a request; `request` is called with its sequence number, and only if the ring keeps requests.
    pub(super) fn add(&mut self, accepted: bool, request: impl FnOnce(u64) -> ReceivedRequest) {
        self.total = self.total.saturating_add(1);
        self.accepted = self.accepted.saturating_add(u64::from(accepted));
        if self.keep == 0 {
            return;
        }
        let request = request(self.total);
        self.bytes = self.bytes.saturating_add(request.bytes());
        self.ring.push_back(request);
        while self.ring.len() > self.keep || self.bytes > MAX_BYTES {
            let Some(oldest) = self.ring.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.bytes());
        }
    }

    pub(super) fn list(&self, filter: &ReceivedFilter) -> Listing {
        let matching = || self.ring.iter().filter(|request| filter.matches(request));
        let count = matching().count();
        let skipped = count.saturating_sub(filter.limit.unwrap_or(count));
        let requests = matching().skip(skipped).cloned().collect();
        Listing { total: self.total, accepted: self.accepted, count, requests }
    }

    /// Removes requests, counts and attempts.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.keep);
    }
}

/// The number of attempts per message, in two generations: a full young generation replaces the old one.
#[derive(Default)]
struct AttemptCounts {
    young: HashMap<u64, u32>,
    old: HashMap<u64, u32>,
}

impl AttemptCounts {
    fn count(&mut self, key: u64) -> u32 {
        let previous = self.young.get(&key).or_else(|| self.old.get(&key));
        let attempt = previous.map_or(1, |previous| previous.saturating_add(1));
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

    fn request(sequence: u64, text: String) -> ReceivedRequest {
        let (status, attempt, text) = (Some(200), Some(1), Some(text));
        ReceivedRequest { sequence, accepted: true, status, attempt, text, channel_type: None, device_address: None }
    }

    #[test]
    fn ring_is_limited_in_bytes() {
        let mut received = ReceivedLog::new(1000);
        for _ in 0..10 {
            received.add(true, |sequence| request(sequence, "x".repeat(MAX_BYTES / 4)));
        }
        let listing = received.list(&ReceivedFilter::default());
        assert_eq!((listing.total, listing.count, listing.requests[0].sequence), (10, 4, 7));
    }

    #[test]
    fn log_that_keeps_nothing_only_counts() {
        let mut received = ReceivedLog::new(0);
        received.add(false, |_| unreachable!());
        received.add(true, |_| unreachable!());
        let listing = received.list(&ReceivedFilter::default());
        assert_eq!((listing.total, listing.accepted, listing.count), (2, 1, 0));
    }

    #[test]
    fn attempt_counts_drop_only_old_messages() {
        let mut attempts = AttemptCounts::default();
        let messages = MAX_MESSAGES as u64;
        assert_eq!(attempts.count(0), 1);
        let first_attempts = (1..=messages).filter(|key| attempts.count(*key) == 1).count();
        assert_eq!((first_attempts, attempts.count(0), attempts.count(messages)), (MAX_MESSAGES, 2, 2));
        for key in messages + 1..=4 * messages {
            attempts.count(key);
        }
        assert_eq!(attempts.count(0), 1);
        assert!(attempts.young.len() <= MAX_MESSAGES && attempts.old.len() <= MAX_MESSAGES);
    }
}
