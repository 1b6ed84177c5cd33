//! What the pipeline needs of the world. Adapters implement these; tests use fakes.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::domain::{
    evidence::Evidence,
    journal::{Ended, Record, SendKey},
    message::Message,
    properties::Properties,
};

/// Names one delivery: its number is only valid within the session (generation) that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeliveryTag {
    /// Which session; a settle for an old one is dropped, as the broker has requeued the delivery.
    pub generation: u64,
    /// The broker's delivery tag.
    pub number: u64,
}

/// A message as it came from the queue.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What to settle it by.
    pub tag: DeliveryTag,
    /// The payload, untouched.
    pub body: Bytes,
    /// The readable properties.
    pub properties: Properties,
    /// The broker has handed it out before: an earlier owner may have posted it.
    pub redelivered: bool,
    /// `exchange/key` that it came by.
    pub source: String,
}

/// Where deliveries come from.
pub trait Inbox: Send {
    /// The next delivery, or `None` when no more will come, at shutdown.
    fn next(&mut self) -> impl Future<Output = Option<Delivery>> + Send;

    /// One that is there already, if any.
    fn try_next(&mut self) -> Option<Delivery>;

    /// Whether the broker delivers commands now; `false` while disconnected or cancelled.
    fn is_consuming(&self) -> bool;

    /// How many deliveries may be in hand from now on; it may take a moment.
    fn set_prefetch(&mut self, prefetch: u16);
}

/// Where deliveries are settled.
pub trait Settler: Clone + Send + Sync + 'static {
    /// Acknowledges; never fails: if the session is gone, the broker has requeued the delivery.
    fn ack(&self, tag: DeliveryTag);

    /// Whether the session that brought this delivery still lives; if not, the broker hands it out again
    /// and starting work on this copy would do it twice.
    fn is_current(&self, tag: DeliveryTag) -> bool;
}

/// Why a message is not known to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PublishError {
    /// No queue is bound for it: the topology is incomplete.
    #[error("the broker returned the message: no queue is bound for it")]
    Returned,
    /// The broker refused it: the queue is full or down.
    #[error("the broker refused the message: its queue is full or unavailable")]
    Refused,
    /// The confirm did not come: the session broke or stalled.
    #[error("the broker's confirm did not come")]
    Unconfirmed,
}

/// Where events and dead letters go.
pub trait Outbox: Clone + Send + Sync + 'static {
    /// Resolves with `Ok` only when the broker has confirmed that it stored the message in at least one queue.
    fn publish(&self, message: Arc<Message>) -> impl Future<Output = Result<(), PublishError>> + Send;
}

/// Posts to the API.
pub trait Sender: Clone + Send + Sync + 'static {
    /// Makes one attempt with this request body and tells what is known afterwards and how long it took.
    fn send(&self, body: &Bytes) -> impl Future<Output = (Evidence, Duration)> + Send;

    /// Resolves when the credential differs from the one that was used last; never, if nobody can change it.
    fn credential_changed(&self) -> impl Future<Output = ()> + Send;
}

/// The journal cannot be written or read now. Whoever owns it has closed the gate and opens it again; the caller tries
/// again then, and starts no attempt before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal is unavailable: {0}")]
pub struct JournalUnavailable(pub String);

/// What of a journal's answers a caller can wait for.
pub type JournalResult<T> = Result<T, JournalUnavailable>;

/// The durable record of what was started and how it ended. What a call tells or changes is durable when it resolves
/// with `Ok`; after an `Err` nothing has changed.
///
/// Of one send: `start`, then exactly one of `release` and `end`; again and again, until `end`.
pub trait Journal: Clone + Send + Sync + 'static {
    /// What is on record; changes nothing.
    fn lookup(&self, key: &SendKey) -> impl Future<Output = JournalResult<Record>> + Send;

    /// Records that an attempt starts, unless somebody is at it or it has ended; tells what was on record before. Only when
    /// that [is free](Record::is_free) is the attempt ours to make.
    fn start(&self, key: &SendKey) -> impl Future<Output = JournalResult<Record>> + Send;

    /// Records that the attempt that we started is accounted for and more may follow, from here or from elsewhere;
    /// `uncertain` if this or an earlier one may have reached the API.
    fn release(&self, key: &SendKey, uncertain: bool) -> impl Future<Output = JournalResult<()>> + Send;

    /// Records the end, whether or not an attempt was started.
    fn end(&self, key: &SendKey, ended: Ended) -> impl Future<Output = JournalResult<()>> + Send;

    /// Records that the dead letter of an end is stored.
    fn letter_stored(&self, key: &SendKey) -> impl Future<Output = JournalResult<()>> + Send;

    /// Whether a send without a record was never started: not when the journal has just been made, when other daemons
    /// take commands that it does not know of, or when there is none.
    fn is_complete(&self) -> bool;

    /// Whether it remembers anything at all.
    fn remembers(&self) -> bool {
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

/// Randomness for jitter.
pub trait Random: Clone + Send + Sync + 'static {
    /// A number `n` with 0 ≤ n < 1.
    fn random_unit(&self) -> f64;
}

/// All ports that the pipeline uses besides its [`Inbox`], in one bundle.
pub trait Ports: Send + Sync + 'static {
    /// Posts to the API.
    type Sender: Sender;
    /// Publishes outcomes.
    type Outbox: Outbox;
    /// Settles deliveries.
    type Settler: Settler;
    /// Remembers what was started and how it ended.
    type Journal: Journal;
    /// Tells the time.
    type Clock: Clock;
    /// Spreads waits.
    type Random: Random;

    /// Posts to the API.
    fn sender(&self) -> &Self::Sender;
    /// Publishes outcomes.
    fn outbox(&self) -> &Self::Outbox;
    /// Settles deliveries.
    fn settler(&self) -> &Self::Settler;
    /// Remembers what was started and how it ended.
    fn journal(&self) -> &Self::Journal;
    /// Tells the time.
    fn clock(&self) -> &Self::Clock;
    /// Spreads waits.
    fn random(&self) -> &Self::Random;
}
