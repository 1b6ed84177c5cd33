//! The publishes of one session that are on their way: handed to the library, and not yet judged.

use std::{collections::VecDeque, future::Future, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use lapin::{Channel, Confirmation, message::BasicReturnMessage, options::BasicPublishOptions, types::ShortString};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use super::{
    properties,
    returns::{Address, Confirmed, Returns},
    topology::Names,
};
use crate::{
    domain::message::{Message, Target},
    ports::PublishError,
};

/// How many publishes may await their confirm; the library scans all of them for a multiple confirm.
const MAX_UNCONFIRMED: usize = 1_024;
/// With a publish that is not confirmed for this long, the session is given up, however many others are.
pub(super) const CONFIRM_DEADLINE: Duration = Duration::from_secs(30);

type Reply = oneshot::Sender<Result<(), PublishError>>;
/// A message to publish, and whom to tell what became of it.
pub(super) struct Job {
    pub(super) message: Arc<Message>,
    pub(super) reply: Reply,
}

/// What the broker said, apart from returns.
pub(super) struct Landed {
    number: u64,
    message: Arc<Message>,
    reply: Reply,
    accepted: bool,
}

/// A publish on its way.
pub(super) trait Publish: Future<Output = Result<Confirmed<Landed>, lapin::Error>> {}

impl<F: Future<Output = Result<Confirmed<Landed>, lapin::Error>>> Publish for F {}

/// Dropping it drops the replies: whoever waits learns that the confirm did not come.
pub(super) struct Flight<F> {
    names: Names,
    outstanding: FuturesUnordered<F>,
    returns: Returns<Landed>,
    waits: Waits,
    /// No wait before this counts.
    counts_from: Option<Instant>,
}

impl<F: Publish> Flight<F> {
    pub(super) fn new(names: &Names) -> Self {
        Self {
            names: names.clone(),
            outstanding: FuturesUnordered::new(),
            returns: Returns::default(),
            waits: Waits::default(),
            counts_from: None,
        }
    }

    /// How many are on their way.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    pub(super) fn has_room(&self) -> bool {
        self.outstanding.len() < MAX_UNCONFIRMED && !self.returns.must_settle()
    }

    /// Takes in the publish of this number, which tells its fate. It leaves when [`Self::land`] is polled next.
    pub(super) fn take_off(&mut self, publish: impl FnOnce(u64) -> F) {
        let number = self.waits.begin(Instant::now());
        self.outstanding.push(publish(number));
    }

    /// Waits for a confirm, takes all that are ready, judges them and tells who waits. Pends while there are none.
    pub(super) async fn land(&mut self) -> Result<(), lapin::Error> {
        let Some(first) = self.outstanding.next().await else { return std::future::pending().await };
        let mut next = Some(first);
        while let Some(confirmed) = next {
            let confirmed = confirmed?;
            self.waits.end(confirmed.item.number);
            self.returns.collect(confirmed);
            next = self.outstanding.next().now_or_never().flatten();
        }
        let address = |landed: &Landed| address(&self.names, &landed.message.target);
        for (landed, routed) in self.returns.judge(self.outstanding.len(), address) {
            let result = match (landed.accepted, routed) {
                (false, _) => Err(PublishError::Refused),
                (true, false) => Err(PublishError::Returned),
                (true, true) => Ok(()),
            };
            // Who waited may have given up, at shutdown.
            let _ = landed.reply.send(result);
        }
        Ok(())
    }

    /// What was waited so far was not the broker's fault.
    pub(super) fn restart_deadline(&mut self) {
        self.counts_from = Some(Instant::now());
    }

    /// When the confirm of the one that has waited for longest must have come, if any is outstanding.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let since = self.waits.longest()?;
        Some(self.counts_from.map_or(since, |from| from.max(since)) + CONFIRM_DEADLINE)
    }
}

/// Since when each publish has waited, in order; its number is its place, counted from the first ever.
#[derive(Default)]
struct Waits {
    gone: u64,
    /// The first one waits; others may not any more.
    since: VecDeque<Option<Instant>>,
}

impl Waits {
    fn begin(&mut self, now: Instant) -> u64 {
        self.since.push_back(Some(now));
        self.gone + self.since.len() as u64 - 1
    }

    fn end(&mut self, number: u64) {
        let place = number.checked_sub(self.gone).and_then(|place| usize::try_from(place).ok());
        if let Some(since) = place.and_then(|place| self.since.get_mut(place)) {
            *since = None;
        }
        while let Some(None) = self.since.front() {
            self.since.pop_front();
            self.gone += 1;
        }
    }

    fn longest(&self) -> Option<Instant> {
        *self.since.front()?
    }
}

/// Sends a message, persistent and mandatory, and waits for its confirm. It `leaves` until it is written.
pub(super) fn publish<'a>(
    channel: &'a Channel,
    names: &Names,
    Job { message, reply }: Job,
    number: u64,
    leaves: OwnedSemaphorePermit,
) -> impl Publish + Send + use<'a> {
    let Address { exchange, key } = address(names, &message.target);
    async move {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (exchange, key) = (short(exchange), short(key));
        let properties = properties::write(&message.properties);
        // Boxed, as a thousand may wait for their confirms, for which less is needed.
        let sent = Box::pin(channel.basic_publish(exchange, key, options, &message.body, properties)).await?;
        drop(leaves);
        let confirm = sent.await?;
        let (accepted, returned) = match confirm {
            Confirmation::Ack(returned) => (true, returned),
            Confirmation::Nack(returned) => (false, returned),
            // The channel is in confirm mode; without it nothing is known of any message.
            Confirmation::NotRequested => (false, None),
        };
        let returned = returned.as_ref().map(returned_from);
        Ok(Confirmed { returned, item: Landed { number, message, reply, accepted } })
    }
}

fn returned_from(message: &BasicReturnMessage) -> Address {
    Address { exchange: message.exchange.as_str().to_owned(), key: message.routing_key.as_str().to_owned() }
}

fn address(names: &Names, target: &Target) -> Address {
    let (exchange, key) = match target {
        Target::Event { outcome, channel_type } => {
            (names.events(), ["send.", outcome.as_str(), ".", channel_type].concat())
        }
        Target::Dead(reason) => (names.dead(), reason.as_str().to_owned()),
        Target::Reply(queue) => (String::new(), queue.clone()),
        Target::Tier { tier, key } => (names.retry(tier), key.clone()),
    };
    Address { exchange, key }
}

/// Prefix, outcome, channel and reply queue are bounded far below a short string's 255 bytes.
fn short(text: String) -> ShortString {
    ShortString::try_new(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::domain::properties::Properties;

    type Fate = BoxFuture<'static, Result<Confirmed<Landed>, lapin::Error>>;

    fn stored(number: u64) -> Confirmed<Landed> {
        let target = Target::Reply("queue".to_owned());
        let message = Arc::new(Message { target, properties: Properties::default(), body: Bytes::new() });
        Confirmed { returned: None, item: Landed { number, message, reply: oneshot::channel().0, accepted: true } }
    }

    fn never(_: u64) -> Fate {
        std::future::pending().boxed()
    }

    /// Whether the session would be given up now.
    fn is_late(flight: &Flight<Fate>) -> bool {
        flight.deadline().is_some_and(|deadline| deadline <= Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn one_confirm_that_never_comes_is_noticed_though_others_come() {
        let mut flight = Flight::new(&Names::new("p"));
        assert!(flight.deadline().is_none(), "nothing is outstanding");
        flight.take_off(never);
        for _ in 0..29 {
            tokio::time::advance(Duration::from_secs(1)).await;
            flight.take_off(|number| async move { Ok(stored(number)) }.boxed());
            flight.land().await.unwrap();
            assert!(!is_late(&flight));
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(is_late(&flight));
    }

    #[tokio::test(start_paused = true)]
    async fn a_confirm_in_time_makes_the_next_one_the_oldest() {
        let mut flight = Flight::new(&Names::new("p"));
        let (confirm, comes) = oneshot::channel();
        flight.take_off(|number| async move { comes.await.map(|()| Ok(stored(number))).unwrap() }.boxed());
        tokio::time::advance(Duration::from_secs(20)).await;
        flight.take_off(never);
        confirm.send(()).unwrap();
        flight.land().await.unwrap();
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(!is_late(&flight), "it has waited for 20 s");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(is_late(&flight));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_waited_while_the_broker_blocked_us_does_not_count() {
        let mut flight = Flight::new(&Names::new("p"));
        flight.take_off(never);
        tokio::time::advance(Duration::from_secs(1_000)).await;
        flight.restart_deadline();
        tokio::time::advance(Duration::from_secs(29)).await;
        assert!(!is_late(&flight));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(is_late(&flight));
    }
}
