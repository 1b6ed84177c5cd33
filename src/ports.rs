//! The interfaces between the pipeline and the outside: queue, broker, API, journal, clock, randomness.
//!
//! Adapters implement these traits; tests implement them with fakes. The pipeline is generic over [`Ports`] and knows
//! neither AMQP nor HTTP.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::domain::{
    evidence::Evidence,
    journal::{AttemptHistory, Doubt, Record, RecordedOutcome, SendKey},
    message::{Message, Target},
    properties::Properties,
};

/// Identifies a delivery. AMQP delivery tags are scoped to a channel, so the tag carries its session's generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeliveryTag {
    /// The consumer session. An ack for an earlier one is dropped, as the broker has requeued the delivery.
    pub generation: u64,
    /// The broker's delivery tag.
    pub number: u64,
}

/// A message from the command queue.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Identifies the delivery in an ack.
    pub tag: DeliveryTag,
    /// The payload, unchanged.
    pub body: Bytes,
    /// The properties and headers on the allow-list.
    pub properties: Properties,
    /// An earlier consumer may have attempted the command: AMQP's `redelivered`, or a copy of a delivery that had it.
    pub redelivered: bool,
    /// This daemon was the only consumer of the queue: nobody else held deliveries that may still be returned. As the
    /// broker delivers what was returned before anything else, a first delivery then follows all redeliveries.
    pub is_sole_consumer: bool,
    /// How often the broker took the message back since its publish: from sessions and daemons that ended.
    pub returns: u32,
    /// `exchange/routing-key` of the message, for `courier-source`.
    pub source: String,
}

/// The source of deliveries.
pub trait Inbox: Send {
    /// Returns the next delivery, or `None` after shutdown. Cancel-safe.
    fn next(&mut self) -> impl Future<Output = Option<Delivery>> + Send;

    /// Returns a delivery that has already arrived, without waiting.
    fn try_next(&mut self) -> Option<Delivery>;

    /// Whether the broker delivers commands now: `false` without a subscription; deliveries of a cancelled one may still
    /// arrive while it is true.
    fn is_consuming(&self) -> bool;

    /// The most unacked deliveries now: the prefetch, or fewer while bodies are large.
    fn max_in_hand(&self) -> u16;

    /// Limits the unacked deliveries from now on. The change reaches the broker asynchronously.
    fn set_prefetch(&mut self, prefetch: u16);
}

/// Settles deliveries.
pub trait Settler: Clone + Send + Sync + 'static {
    /// Acks a delivery. Infallible: if its session is gone, the broker has requeued it.
    fn ack(&self, tag: DeliveryTag);

    /// Whether the session of this delivery is still alive. If not, the broker redelivers it, so work on this copy must
    /// not start.
    fn is_current(&self, tag: DeliveryTag) -> bool;
}

/// Why a publish is not known to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PublishError {
    /// `basic.return`: no queue is bound for the message, so the topology is incomplete.
    #[error("the broker returned the message: no queue is bound for it")]
    Returned,
    /// `basic.nack`: a bound queue is full or unavailable; other bound queues may have stored the message.
    #[error("the broker refused the message: a bound queue is full or unavailable")]
    Refused,
    /// No confirm arrived: the session broke or stalled.
    #[error("the broker did not confirm the message")]
    Unconfirmed,
}

/// Publishes events, dead letters and delayed commands.
pub trait Outbox: Clone + Send + Sync + 'static {
    /// Resolves with `Ok` once the broker has confirmed that at least one queue stored the message.
    fn publish(&self, message: Arc<Message>) -> impl Future<Output = Result<(), PublishError>> + Send;

    /// The destination of a target by its name on the broker, for operators.
    fn destination(&self, target: &Target) -> String;
}

/// The client of the API.
pub trait Sender: Clone + Send + Sync + 'static {
    /// POSTs this request body once; returns the evidence and the duration of the attempt.
    fn send(&self, body: &Bytes) -> impl Future<Output = (Evidence, Duration)> + Send;

    /// Resolves when the credential differs from the one of the last attempt; never for a credential
    /// that no file holds.
    fn credential_changed(&self) -> impl Future<Output = ()> + Send;
}

/// The journal cannot be read or written now. Its owner has closed the gate (`journal`) and reopens it; the caller
/// retries after that and starts no attempt before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal is unavailable: {0}")]
pub struct JournalUnavailable(pub String);

/// The result of a journal call.
pub type JournalResult<T> = Result<T, JournalUnavailable>;

/// The durable record of started attempts and of outcomes, by [`SendKey`].
///
/// A change is durable once its call resolves with `Ok`; after `Err` the change may or may not be recorded; repeating
/// the call is safe. The calls for one send are: `start_attempt`, then either `finish_attempt` (more attempts may
/// follow) or `record_outcome` (none will).
pub trait Journal: Clone + Send + Sync + 'static {
    /// Returns the record without changing it.
    fn lookup(&self, key: &SendKey) -> impl Future<Output = JournalResult<Record>> + Send;

    /// Records that an attempt starts and returns the previous record. If that does not
    /// [allow an attempt](Record::allows_attempt), nothing is recorded and the caller must not POST.
    fn start_attempt(&self, key: &SendKey) -> impl Future<Output = JournalResult<Record>> + Send;

    /// Records that the attempt started by this daemon is accounted for, so that any owner may start another;
    /// `history` covers this attempt and all earlier ones.
    fn finish_attempt(&self, key: &SendKey, history: AttemptHistory) -> impl Future<Output = JournalResult<()>> + Send;

    /// Records the outcome, whether or not an attempt was started.
    fn record_outcome(&self, key: &SendKey, outcome: RecordedOutcome)
    -> impl Future<Output = JournalResult<()>> + Send;

    /// Records that the broker has stored the dead letter of the outcome.
    fn record_letter_stored(&self, key: &SendKey) -> impl Future<Output = JournalResult<()>> + Send;

    /// Records that no delivery of the send was posted beyond these attempts; changes nothing if there is a record. A
    /// journal may ignore it where that could not be relied on, or where the missing record proves as much.
    fn record_unposted(&self, _: &SendKey, _: AttemptHistory) -> impl Future<Output = JournalResult<()>> + Send {
        std::future::ready(Ok(()))
    }

    /// Records that the broker has confirmed the event of the outcome. May become durable only with a later change: if a
    /// crash comes before, the event is not known to be published.
    fn record_published(&self, key: &SendKey) -> impl Future<Output = JournalResult<()>> + Send;

    /// Records that an earlier delivery may have been posted without a record; changes nothing if there is a record.
    fn record_doubt(&self, key: &SendKey) -> impl Future<Output = JournalResult<()>> + Send;

    /// Whether [`Record::Unknown`] proves that no attempt was started. False for a new journal, for one with lost
    /// records, beside daemons with other journals, and without a journal.
    fn is_complete(&self) -> bool;

    /// Whether a record that is found is the newest one of its send: an older one may be left after lost writes.
    fn has_newest_records(&self) -> bool {
        self.is_complete()
    }

    /// What [`Record::Unknown`] proves.
    fn doubt(&self) -> Doubt {
        if self.is_complete() { Doubt::None } else { Doubt::SharedQueue }
    }

    /// Ends the doubt that existed when this process opened the journal: whatever the broker had delivered before has been
    /// delivered again, and is on record. Does nothing if other processes share the journal.
    fn end_former_doubt(&self) {}

    /// Whether anything is recorded at all.
    fn is_enabled(&self) -> bool {
        true
    }
}

/// Wall-clock and monotonic time.
pub trait Clock: Clone + Send + Sync + 'static {
    /// The wall clock: only for what leaves the process, as event times, headers and deadlines. It may jump.
    fn now(&self) -> Timestamp;

    /// The monotonic clock, for windows and waits.
    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

/// The clock of the operating system. Adapters and telemetry use it directly.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Randomness for jitter.
pub trait Random: Clone + Send + Sync + 'static {
    /// Returns a number `n` with 0 ≤ n < 1.
    fn random_unit(&self) -> f64;
}

/// All ports that the pipeline uses besides its [`Inbox`].
pub trait Ports: Send + Sync + 'static {
    /// See [`Sender`].
    type Sender: Sender;
    /// See [`Outbox`].
    type Outbox: Outbox;
    /// See [`Settler`].
    type Settler: Settler;
    /// See [`Journal`].
    type Journal: Journal;
    /// See [`Clock`].
    type Clock: Clock;
    /// See [`Random`].
    type Random: Random;

    /// The client of the API.
    fn sender(&self) -> &Self::Sender;
    /// The publisher of events, dead letters and delayed commands.
    fn outbox(&self) -> &Self::Outbox;
    /// The settler of deliveries.
    fn settler(&self) -> &Self::Settler;
    /// The journal.
    fn journal(&self) -> &Self::Journal;
    /// The clock.
    fn clock(&self) -> &Self::Clock;
    /// The source of jitter.
    fn random(&self) -> &Self::Random;
}
