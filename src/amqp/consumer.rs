//! The consume session: brings deliveries while the gate is open, and settles them.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, future::try_join_all};
use lapin::{
    Channel, Connection, Event,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{
    acks::{Ack, Ledger},
    census::{Census, Count},
    connect::{Broker, timed, until},
    error::SessionError,
    properties,
    subscription::{Active, Brought, Extent, Subscription, room},
    supervise::{Serve, Supervisor},
    topology::{Names, Topology},
};
use crate::{
    domain::tier::Tiers,
    gate::{Gate, GateState},
    ports::{Delivery, DeliveryTag, Inbox, Random, Settler},
    telemetry::{
        Role, Telemetry,
        events::{Connected, ConsumerStarted, ConsumerStopped, ConsumersCounted, TopologyVerified},
    },
};

/// How often a closed gate's wish for a probe is tried to be met; the queue may be empty.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// So many times in a row the broker knows of no consumer before we believe it.
const ZEROS: u32 = 3;

/// How long the broker may take for an acknowledgement that it has read.
const TAKEN_WITHIN: Duration = Duration::from_secs(1);

/// Where the pipeline takes deliveries from.
pub struct Deliveries {
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    prefetch: watch::Sender<u16>,
    consuming: Arc<AtomicBool>,
}

impl Inbox for Deliveries {
    async fn next(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await
    }

    fn try_next(&mut self) -> Option<Delivery> {
        self.deliveries.try_recv().ok()
    }

    fn is_consuming(&self) -> bool {
        self.consuming.load(Ordering::Relaxed)
    }

    fn set_prefetch(&mut self, prefetch: u16) {
        self.prefetch.send_replace(prefetch);
    }
}

/// Where the pipeline settles them.
#[derive(Clone)]
pub struct Acks {
    tags: mpsc::UnboundedSender<DeliveryTag>,
    generation: Arc<AtomicU64>,
}

impl Settler for Acks {
    fn ack(&self, tag: DeliveryTag) {
        // The session's task is gone only at the very end, and then the broker requeues the delivery.
        let _ = self.tags.send(tag);
    }

    fn is_current(&self, tag: DeliveryTag) -> bool {
        self.generation.load(Ordering::Acquire) == tag.generation
    }
}

/// Told a number of consumers.
pub type Others = Arc<dyn Fn(u32) + Send + Sync>;

/// How to consume.
pub struct Consumer {
    /// Which queue, and what else must be there.
    pub names: Names,
    /// Whose exchanges must be there.
    pub tiers: Tiers,
    /// Declares the topology before consuming, instead of only checking it.
    pub declare: Option<Topology>,
    /// How many deliveries may be in hand, the bound of all memory, until [`Deliveries`] is told of another number.
    pub prefetch: u16,
    /// Told how many consumers the queue has, ours included, whenever the broker was asked.
    pub others: Others,
    /// Consumes only while it is open.
    pub gate: Gate,
    /// Told of every change.
    pub telemetry: Telemetry,
}

impl Consumer {
    /// Both ends for the pipeline, and the task that serves them until `stop`; then it settles what was acked before, and tells
    /// whether it could.
    pub fn start<R: Random>(
        self,
        broker: Arc<Broker>,
        random: R,
        stop: CancellationToken,
    ) -> (Deliveries, Acks, impl Future<Output = bool> + Send) {
        // Unbounded, yet never longer than the prefetch: the broker sends no more before we ack.
        let (deliveries, inbox) = mpsc::unbounded_channel();
        let (tags, acked) = mpsc::unbounded_channel();
        let generation = Arc::new(AtomicU64::new(0));
        let acks = Acks { tags, generation: generation.clone() };
        let supervisor =
            Supervisor { broker, role: Role::Consume, telemetry: self.telemetry.clone(), random, stop: stop.clone() };
        let gate = self.gate.subscribe();
        let prefetch = watch::Sender::new(self.prefetch);
        let prefetches = prefetch.subscribe();
        let consuming = Arc::new(AtomicBool::new(false));
        let link = Link {
            settings: self,
            deliveries,
            acked,
            generation,
            consuming: consuming.clone(),
            gate,
            prefetches,
            stop,
            flushed: true,
        };
        let serving = async move { supervisor.run(link).await };
        (Deliveries { deliveries: inbox, prefetch, consuming }, acks, serving)
    }
}

/// The task's state; it outlives the sessions.
struct Link {
    settings: Consumer,
    deliveries: mpsc::UnboundedSender<Delivery>,
    acked: mpsc::UnboundedReceiver<DeliveryTag>,
    generation: Arc<AtomicU64>,
    /// See [`Inbox::is_consuming`].
    consuming: Arc<AtomicBool>,
    gate: watch::Receiver<GateState>,
    /// How many deliveries are wanted in hand.
    prefetches: watch::Receiver<u16>,
    stop: CancellationToken,
    /// Not while acknowledgements may be lost at the very end.
    flushed: bool,
}

impl Serve for Link {
    async fn serve(&mut self, connection: &Connection) -> Result<(), SessionError> {
        let generation = self.generation.load(Ordering::Acquire) + 1;
        let channel = self.prepare(connection).await?;
        self.generation.store(generation, Ordering::Release);
        self.settings.telemetry.record(Connected { role: Role::Consume });
        let mut session = Session {
            channel,
            generation,
            subscription: Subscription::None,
            ledger: Ledger::default(),
            before: 0,
            zeros: 0,
            last_ack: None,
        };
        let census = Census::new(connection, self.settings.names.commands());
        let mut events = pin!(connection.events_listener());
        let result = self.consume_until_stopped(&mut session, &mut events, census).await;
        self.consuming.store(false, Ordering::Relaxed);
        // From here on nothing of this session may be worked on or settled.
        self.generation.store(generation + 1, Ordering::Release);
        if !matches!(session.subscription, Subscription::None) {
            self.settings.telemetry.record(ConsumerStopped { why: "the session ended" });
        }
        result.map_err(|problem| problem.or_cause(events))
    }

    fn is_flushed(&mut self) -> bool {
        self.flushed && self.acked.try_recv().is_err()
    }
}

impl Link {
    async fn prepare(&self, connection: &Connection) -> Result<Channel, SessionError> {
        if let Some(topology) = &self.settings.declare {
            topology.declare(&self.settings.names, connection).await?;
        }
        Topology::require(&self.settings.names, &self.settings.tiers, connection).await?;
        self.settings.telemetry.record(TopologyVerified);
        let channel = timed("channel.open", connection.create_channel()).await?;
        Ok(channel)
    }

    async fn consume_until_stopped(
        &mut self,
        session: &mut Session,
        events: &mut (impl Stream<Item = Event> + Send + Unpin),
        census: Census<'_>,
    ) -> Result<(), SessionError> {
        let counting = census.next(true);
        tokio::pin!(counting);
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (gate, prefetch) = (*self.gate.borrow_and_update(), *self.prefetches.borrow_and_update());
            session.follow(gate.is_open(), prefetch, &self.settings).await?;
            self.consuming.store(!matches!(session.subscription, Subscription::None), Ordering::Relaxed);
            tokio::select! {
                biased;
                () = until(session.ledger.due()) => session.acknowledge(false).await?,
                Some(tag) = self.acked.recv() => self.settle(session, tag),
                delivery = session.subscription.next() => self.hand_over(session, delivery)?,
                Ok(()) = self.gate.changed() => {}
                Ok(()) = self.prefetches.changed() => {}
                _ = looks.tick(), if gate.probe_requested() || session.subscription.is_cramped() => {
                    if gate.probe_requested()
                        && let Some(delivery) = session.fetch(&self.settings.names.commands()).await? {
                        drop(self.deliveries.send(delivery));
                    }
                },
                event = events.next() => match event {
                    Some(Event::Error(error)) => return Err(error.into()),
                    Some(_) => {}
                    None => return Err(SessionError::Ended),
                },
                counted = &mut counting => {
                    let (census, count) = counted?;
                    let soon = session.counted(count, &self.settings)?;
                    counting.set(census.next(soon));
                }
                () = self.stop.cancelled() => return self.finish(session).await,
            }
        }
    }

    /// Takes what comes together at once: a turn costs more than a delivery.
    fn hand_over(&self, session: &mut Session, first: Option<Brought>) -> Result<(), SessionError> {
        let mut next = Some(first);
        while let Some(brought) = next {
            if let Some(delivery) = session.received(brought, &self.settings)? {
                // Nobody takes deliveries any more: the pipeline drains, and the broker keeps them.
                drop(self.deliveries.send(delivery));
            }
            next = session.subscription.next().now_or_never();
        }
        Ok(())
    }

    fn settle(&mut self, session: &mut Session, first: DeliveryTag) {
        session.settle(first);
        while let Ok(tag) = self.acked.try_recv() {
            session.settle(tag);
        }
    }

    /// Settles what was acked, and gives the broker time to take it before the channel closes. An answer to a later request
    /// proves that it has read the acknowledgements; but the channel of a quorum queue keeps back those beyond 32 that
    /// await its log, and forgets them when it closes, and nothing that we could ask tells when it has none.
    async fn finish(&mut self, session: &mut Session) -> Result<(), SessionError> {
        self.flushed = false;
        while let Ok(tag) = self.acked.try_recv() {
            session.settle(tag);
        }
        session.acknowledge(true).await?;
        let prefetch = self.settings.prefetch;
        timed("basic.qos", session.channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        if let Some(last) = session.last_ack {
            tokio::time::sleep_until(last + TAKEN_WITHIN).await;
        }
        self.flushed = true;
        timed("channel.close", session.channel.close(200, "done".into())).await
    }
}

/// One generation.
struct Session {
    channel: Channel,
    generation: u64,
    subscription: Subscription,
    ledger: Ledger,
    /// The last delivery of the subscriptions before the present one.
    before: u64,
    /// So many times in a row the broker knew of no consumer.
    zeros: u32,
    last_ack: Option<Instant>,
}

impl Session {
    /// Subscribes when the gate opens, cancels when it closes. Another prefetch takes another subscription: the broker heeds
    /// it for new ones only.
    async fn follow(&mut self, open: bool, prefetch: u16, settings: &Consumer) -> Result<(), SessionError> {
        let in_hand = u16::try_from(self.ledger.open()).unwrap_or(u16::MAX);
        self.subscription = match std::mem::replace(&mut self.subscription, Subscription::None) {
            Subscription::None if open => {
                let room = room(prefetch, in_hand);
                timed("basic.qos", self.channel.basic_qos(room, BasicQosOptions::default())).await?;
                self.before = self.ledger.seen_to();
                let consumer = self.subscribe(&settings.names.commands()).await?;
                settings.telemetry.record(ConsumerStarted { queue: &settings.names.commands(), prefetch });
                Subscription::Active(Active { consumer, extent: Extent { since: Instant::now(), prefetch, room } })
            }
            Subscription::Active(active) if !open || active.extent.is_outdated(prefetch, in_hand) => {
                let cancelling = self.channel.basic_cancel(active.consumer.tag(), BasicCancelOptions::default());
                timed("basic.cancel", cancelling).await?;
                Subscription::Ending(active.consumer)
            }
            unchanged => unchanged,
        };
        Ok(())
    }

    async fn subscribe(&self, queue: &str) -> Result<lapin::Consumer, SessionError> {
        let queue = ShortString::try_new(queue).unwrap_or_default();
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        timed("basic.consume", self.channel.basic_consume(queue, ShortString::default(), options, arguments)).await
    }

    /// A delivery; or the end of the subscription, which is only in order when we asked for it.
    fn received(&mut self, delivery: Option<Brought>, settings: &Consumer) -> Result<Option<Delivery>, SessionError> {
        match delivery {
            Some(Ok(delivery)) => Ok(Some(self.ours(delivery))),
            Some(Err(error)) => Err(error.into()),
            None if matches!(self.subscription, Subscription::Ending(_)) => {
                self.subscription = Subscription::None;
                // Not before: what was on its way came until now. Otherwise another subscription follows at once.
                if !settings.gate.state().is_open() {
                    settings.telemetry.record(ConsumerStopped { why: "the gate is closed" });
                }
                Ok(None)
            }
            None => Err(SessionError::Cancelled(settings.names.commands())),
        }
    }

    /// The broker must know of our consumer, if we had it when we asked; and of others we want to know. Tells whether it is
    /// to be asked again soon.
    fn counted(&mut self, count: Count, settings: &Consumer) -> Result<bool, SessionError> {
        let Subscription::Active(Active { extent, .. }) = &self.subscription else { return Ok(false) };
        if extent.since > count.asked {
            return Ok(false);
        }
        settings.telemetry.record(ConsumersCounted { consumers: count.consumers });
        // A queue whose leader is just being elected, or busy, knows of none: one such answer proves nothing.
        self.zeros = if count.consumers == 0 { self.zeros + 1 } else { 0 };
        if self.zeros >= ZEROS {
            return Err(SessionError::Unregistered(settings.names.commands()));
        }
        // A subscription that was cancelled counts as long as something of it is not settled.
        if !self.ledger.is_open_to(self.before) {
            (settings.others)(count.consumers);
        }
        Ok(self.zeros > 0)
    }

    /// One command from the queue, though there is no subscription: the probe of a closed gate.
    async fn fetch(&mut self, queue: &str) -> Result<Option<Delivery>, SessionError> {
        let queue = ShortString::try_new(queue).unwrap_or_default();
        let fetched = timed("basic.get", self.channel.basic_get(queue, BasicGetOptions::default())).await?;
        Ok(fetched.map(|message| self.ours(message.delivery)))
    }

    fn ours(&mut self, theirs: lapin::message::Delivery) -> Delivery {
        self.ledger.delivered(theirs.delivery_tag);
        self.zeros = 0;
        Delivery {
            tag: DeliveryTag { generation: self.generation, number: theirs.delivery_tag },
            properties: properties::read(&theirs.properties),
            redelivered: theirs.redelivered,
            source: [theirs.exchange.as_str(), "/", theirs.routing_key.as_str()].concat(),
            body: Bytes::from(theirs.data),
        }
    }

    fn settle(&mut self, tag: DeliveryTag) {
        if tag.generation == self.generation {
            self.ledger.settle(tag.number);
        }
    }

    /// Sends what is due, all in one go.
    async fn acknowledge(&mut self, all: bool) -> Result<(), SessionError> {
        let acks = self.ledger.take(all);
        if acks.is_empty() {
            return Ok(());
        }
        self.last_ack = Some(Instant::now());
        let send = |Ack { number, multiple }| self.channel.basic_ack(number, BasicAckOptions { multiple });
        timed("basic.ack", try_join_all(acks.into_iter().map(send))).await.map(drop)
    }
}
