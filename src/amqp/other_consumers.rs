//! Derives the consumers of other daemons from the broker's counts.
//!
//! A count includes this daemon's present consumer, and for a while those of its lost sessions. On a queue with a single
//! active consumer it does not include those that wait: there, a count of one may be the consumer of another daemon.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::topology::QueueCounts;

/// How long the broker may take to process an acknowledgement that it has read.
pub(super) const ACK_PROCESSING_TIME: Duration = Duration::from_secs(1);

/// How long the broker may count the consumer of a lost connection: in a partitioned cluster, until the other nodes give
/// up the connection's node (`net_ticktime` 60 s, plus a quarter); on one node, two to three heartbeats.
const LOST_CONSUMER_LIFETIME: Duration = Duration::from_secs(90);

/// The broker's reply to one poll.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConsumerCount {
    pub(super) requested_at: Instant,
    pub(super) counts: QueueCounts,
}

/// Whether the broker counts the present subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConsumerStanding {
    /// Not counted yet, or the counts prove nothing.
    Unknown,
    Counted,
    /// Behind the single active consumer of another daemon, or of an ended process.
    Waiting,
}

/// The present subscription among the queue's consumers.
#[derive(Debug)]
pub(super) struct OwnConsumer {
    /// The counts before its `basic.consume`; `None` if the user may not inspect the queue.
    before: Option<QueueCounts>,
    opened_at: Instant,
    standing: ConsumerStanding,
    /// The subscription before this one was counted, in the same session.
    follows_counted: bool,
    first_delivery_at: Option<Instant>,
    last_delivery_at: Instant,
    is_sole: bool,
}

impl OwnConsumer {
    /// Before the first subscription of a session.
    pub(super) fn none() -> Self {
        Self::opened(None, false)
    }

    /// A subscription was opened after these counts, and replaces `self`. `earlier` of the counted consumers are cancelled ones
    /// of the same session, if that is known.
    pub(super) fn renewed(&self, before: Option<QueueCounts>, earlier: Option<u32>) -> Self {
        // RabbitMQ counts a consumer, also a cancelled or lost one, until its deliveries are settled or returned.
        let is_sole = before.is_some_and(|counts| counts.is_proven() && Some(counts.consumers) == earlier);
        Self { is_sole, ..Self::opened(before, self.standing == ConsumerStanding::Counted) }
    }

    fn opened(before: Option<QueueCounts>, follows_counted: bool) -> Self {
        let opened_at = Instant::now();
        Self {
            before,
            opened_at,
            standing: ConsumerStanding::Unknown,
            follows_counted,
            first_delivery_at: None,
            last_delivery_at: opened_at,
            is_sole: false,
        }
    }

    /// Records the counts just after `basic.consume`, if those before were zeros: of an empty queue without consumers, or of
    /// one whose leader did not answer. A leader that now counts one consumer has counted this one.
    pub(super) fn record_counts_after_zeros(&mut self, after: Option<QueueCounts>) {
        self.is_sole |= after.is_some_and(|counts| counts.consumers == 1);
    }

    /// Whether this is proven to be the queue's only consumer, so that no other one holds deliveries.
    pub(super) const fn is_sole(&self) -> bool {
        self.is_sole
    }

    /// When the last delivery arrived, or the subscription began.
    pub(super) const fn quiet_since(&self) -> Instant {
        self.last_delivery_at
    }

    /// Whether another daemon has the single active consumer.
    pub(super) fn is_waiting(&self) -> bool {
        self.standing == ConsumerStanding::Waiting
    }

    /// Records a delivery, which proves that the broker counts the subscription. Returns whether it was waiting before.
    pub(super) fn record_delivery(&mut self, now: Instant) -> bool {
        self.last_delivery_at = now;
        self.first_delivery_at.get_or_insert(now);
        std::mem::replace(&mut self.standing, ConsumerStanding::Counted) == ConsumerStanding::Waiting
    }

    /// Records a proven count that was requested after the subscription began and before it was cancelled.
    /// `earlier` as in [`Self::renewed`].
    pub(super) fn observe(&mut self, count: ConsumerCount, earlier: Option<u32>, last_ack_at: Option<Instant>) {
        let ConsumerCount { requested_at, counts } = count;
        // Acknowledgements end the cancelled consumers of this session: one may be in the first count only.
        let are_acks_in_flight = last_ack_at.is_some_and(|at| at + ACK_PROCESSING_TIME > self.opened_at);
        if self.standing == ConsumerStanding::Unknown {
            self.standing = match self.before {
                Some(before) if counts.consumers > before.consumers => ConsumerStanding::Counted,
                Some(_) if !are_acks_in_flight => ConsumerStanding::Waiting,
                _ => ConsumerStanding::Unknown,
            };
        }
        let has_delivered = self.first_delivery_at.is_some_and(|at| at <= requested_at);
        let is_alone = earlier.is_some_and(|earlier| counts.consumers == earlier + 1);
        self.is_sole = is_alone && (self.is_sole || has_delivered);
    }

    /// How many of the counted consumers are not this one.
    fn foreign(&self, consumers: u32) -> u32 {
        // The others that are counted beside a single active consumer are cancelled ones, possibly of this session.
        if self.is_waiting() { consumers.min(1) } else { consumers.saturating_sub(1) }
    }
}

/// The consumers of other daemons.
#[derive(Debug)]
pub(super) struct OtherConsumers {
    /// The ends of this daemon's recent sessions, whose consumers the broker may still count.
    lost: VecDeque<Instant>,
    /// Proven to be of other daemons.
    known: u32,
    /// The first of the present session's consecutive counts with others.
    counted_since: Option<Instant>,
    session_began_at: Instant,
    /// How long others must be counted: a daemon that has just been killed is counted for up to three heartbeats.
    proof_time: Duration,
    /// Another daemon was seen as the single active consumer.
    has_single_active: bool,
}

impl Default for OtherConsumers {
    fn default() -> Self {
        Self {
            lost: VecDeque::new(),
            known: 0,
            counted_since: None,
            session_began_at: Instant::now(),
            proof_time: Duration::ZERO,
            has_single_active: false,
        }
    }
}

impl OtherConsumers {
    pub(super) fn start_session(&mut self, heartbeat: Duration) {
        (self.counted_since, self.session_began_at, self.proof_time) = (None, Instant::now(), 3 * heartbeat);
    }

    pub(super) fn end_session(&mut self) {
        self.lost.push_back(Instant::now());
    }

    /// Returns the number of other consumers; 0 until they have been counted for long enough.
    pub(super) fn update(&mut self, count: ConsumerCount, own: &OwnConsumer) -> u32 {
        let foreign = own.foreign(count.counts.consumers);
        let new = foreign.saturating_sub(self.count_lost(count.requested_at, foreign));
        self.known = self.known.min(foreign);
        if new == 0 {
            self.counted_since = None;
        } else if self.is_proven(count.requested_at, own) {
            self.known = self.known.max(new);
            self.has_single_active |= own.is_waiting();
        }
        self.known
    }

    /// This daemon's consumer has become the single active one. Returns the number of others.
    pub(super) fn take_over(&mut self) -> u32 {
        (self.known, self.counted_since) = (0, None);
        0
    }

    /// Whether another subscription would prove who is counted: an ended process may have been the single active consumer
    /// when the present subscription began.
    pub(super) fn needs_renewal(&self, now: Instant, own: &OwnConsumer) -> bool {
        match own.standing {
            ConsumerStanding::Unknown => own.before.is_some(),
            ConsumerStanding::Counted => false,
            ConsumerStanding::Waiting => {
                let is_counted_long = self.counted_since.is_some_and(|since| now > since + self.proof_time);
                self.known == 0 && is_counted_long
            }
        }
    }

    /// Whether another subscription would pass the commands on to another daemon.
    pub(super) fn would_hand_over(&self, own: &OwnConsumer) -> bool {
        self.has_single_active && !own.is_waiting()
    }

    /// The number of this daemon's lost consumers that may be among the foreign ones.
    fn count_lost(&mut self, now: Instant, foreign: u32) -> u32 {
        let is_past = |ended: &Instant| now.duration_since(*ended) > LOST_CONSUMER_LIFETIME;
        while self.lost.pop_front_if(|ended| is_past(ended)).is_some() {}
        // A consumer that is no longer counted does not come back.
        let excess = self.lost.len().saturating_sub(usize::try_from(foreign).unwrap_or(usize::MAX));
        self.lost.drain(..excess);
        u32::try_from(self.lost.len()).unwrap_or(u32::MAX)
    }

    fn is_proven(&mut self, now: Instant, own: &OwnConsumer) -> bool {
        let proven_at = *self.counted_since.get_or_insert(now) + self.proof_time;
        // This daemon was the single active consumer and has cancelled: only another daemon can have taken its place.
        let is_handed_over = own.is_waiting()
            && own.follows_counted
            && self.lost.is_empty()
            && now > self.session_began_at + self.proof_time;
        is_handed_over || (now > proven_at && (!own.is_waiting() || own.opened_at > proven_at))
    }
}

#[cfg(test)]
mod tests;
