//! Consumes the command queue: forwards deliveries to the pipeline while the gate is open, and acknowledges them.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, Stream, StreamExt};
use lapin::{Channel, Connection, Event};
use tokio::{
    sync::{mpsc, watch},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use super::{
    body_sizes::BodySizes,
    connect::BrokerAddresses,
    consume_session::{ConsumeSession, SessionStart},
    consumer::Consumer,
    consumer_count::ConsumerCountPoller,
    error::SessionError,
    inbox::{AmqpInbox, AmqpSettler},
    isolation::EndedSessions,
    other_consumers::OtherConsumers,
    queue_counts::QueueCounter,
    subscription::{DeliveryResult, Demand},
    supervise::{SessionTask, Supervisor},
    timeout::{sleep_until, with_timeout},
    topology::{Topology, channel_refusal},
};
use crate::{
    gate::{GateReason, GateState},
    ports::{Delivery, DeliveryTag, Random},
    telemetry::{
        Role,
        events::{Connected, ConsumerStopped, TopologyVerified},
    },
};

/// Interval of checks for another subscription: for a probe, or a wider one. Short, as a good command may wait behind many
/// wrong ones.
const TICK: Duration = Duration::from_millis(200);

impl Consumer {
    /// Returns both ends for the pipeline, and the task that serves them until `stop`. The task then sends pending
    /// acknowledgements and returns whether the broker received them.
    pub fn start<R: Random>(
        self,
        broker: Arc<BrokerAddresses>,
        random: R,
        stop: CancellationToken,
    ) -> (AmqpInbox, AmqpSettler, impl Future<Output = bool> + Send) {
        #[expect(clippy::disallowed_methods, reason = "bounded by the prefetch")]
        let (delivery_sender, deliveries) = mpsc::unbounded_channel();
        #[expect(clippy::disallowed_methods, reason = "bounded by the prefetch")]
        let (tags, settled) = mpsc::unbounded_channel();
        let generation = Arc::new(AtomicU64::new(0));
        let is_consuming = Arc::new(AtomicBool::new(false));
        let max_in_hand = Arc::new(AtomicU16::new(self.prefetch));
        let prefetch = watch::Sender::new(self.prefetch);
        let has_other_nodes = broker.has_several();
        let supervisor =
            Supervisor { broker, role: Role::Consume, telemetry: self.telemetry.clone(), random, stop: stop.clone() };
        let task = ConsumerTask {
            gate: self.gate.subscribe(),
            sizes: BodySizes::new(self.max_bytes),
            consumer: Arc::new(self),
            deliveries: delivery_sender,
            settled,
            generation: generation.clone(),
            is_consuming: is_consuming.clone(),
            max_in_hand: max_in_hand.clone(),
            prefetch: prefetch.subscribe(),
            has_other_nodes,
            is_declared: false,
            other_consumers: OtherConsumers::default(),
            stop,
            acks_flushed: true,
            ended_sessions: EndedSessions::default(),
        };
        let serving = async move { supervisor.run(task).await };
        (AmqpInbox { deliveries, prefetch, is_consuming, max_in_hand }, AmqpSettler { tags, generation }, serving)
    }
}

/// The state that outlives the sessions.
struct ConsumerTask {
    consumer: Arc<Consumer>,
    deliveries: mpsc::UnboundedSender<Delivery>,
    settled: mpsc::UnboundedReceiver<DeliveryTag>,
    /// Generation of the running session; another value while there is none.
    generation: Arc<AtomicU64>,
    /// Whether there is a subscription.
    is_consuming: Arc<AtomicBool>,
    /// The most deliveries in hand.
    max_in_hand: Arc<AtomicU16>,
    gate: watch::Receiver<GateState>,
    prefetch: watch::Receiver<u16>,
    /// Whether the broker has several addresses.
    has_other_nodes: bool,
    /// An earlier session has found or declared the topology.
    is_declared: bool,
    other_consumers: OtherConsumers,
    /// Of the bodies in all sessions.
    sizes: BodySizes,
    stop: CancellationToken,
    /// `false` while the broker may not have received the last acknowledgements.
    acks_flushed: bool,
    ended_sessions: EndedSessions,
}

impl SessionTask for ConsumerTask {
    async fn run_session(&mut self, connection: &Connection) -> Result<(), SessionError> {
        let generation = self.generation.load(Ordering::Acquire) + 1;
        let channel = self.open_channel(connection).await?;
        self.generation.store(generation, Ordering::Release);
        self.consumer.telemetry.record(Connected { role: Role::Consume });
        let poller = ConsumerCountPoller::new(connection, self.consumer.names.commands(), self.has_other_nodes);
        self.other_consumers.start_session(Duration::from_secs(connection.configuration().heartbeat().into()));
        let (slow_start, sizes) = (self.ended_sessions.slow_start(), self.sizes);
        let start = SessionStart { generation, slow_start, sizes, has_other_nodes: self.has_other_nodes };
        let mut session = ConsumeSession::new(self.consumer.clone(), connection, channel, start);
        let mut events = pin!(connection.events_listener());
        let counter = QueueCounter::new(connection, self.consumer.clone());
        let result = tokio::select! {
            result = self.consume_until_stopped(&mut session, &mut events, poller) => result,
            never = counter.run() => match never {},
        };
        let result = result.map_err(|error| error.or_connection_error(events));
        self.is_consuming.store(false, Ordering::Relaxed);
        self.sizes = session.sizes();
        self.sizes.interrupt();
        self.other_consumers.end_session();
        // From here on the deliveries of this session must not be worked on or settled.
        self.generation.store(generation + 1, Ordering::Release);
        if session.is_consuming() {
            self.consumer.telemetry.record(ConsumerStopped { why: "the session ended" });
        }
        if let Some(error) = result.as_ref().err().filter(|_| session.slow_start().has_subscribed()) {
            let Consumer { names, telemetry, .. } = &*self.consumer;
            self.ended_sessions.record_end(error, names, telemetry);
        }
        result
    }

    fn reconnects_at_once(&self) -> bool {
        self.ended_sessions.reconnects_at_once()
    }

    fn is_flushed(&mut self) -> bool {
        self.acks_flushed && self.settled.try_recv().is_err()
    }
}

impl ConsumerTask {
    async fn open_channel(&mut self, connection: &Connection) -> Result<Channel, SessionError> {
        let Consumer { names, tiers, declare, telemetry, .. } = &*self.consumer;
        // Not declared again while it is complete: the other nodes do not answer declarations while one is cut off.
        let is_complete = self.is_declared && Topology::require(names, tiers, connection).await.is_ok();
        if !is_complete {
            if let Some(topology) = declare {
                topology.declare(names, connection).await?;
            }
            Topology::require(names, tiers, connection).await?;
            self.is_declared = true;
        }
        telemetry.record(TopologyVerified);
        with_timeout("channel.open", connection.create_channel()).await
    }

    async fn consume_until_stopped(
        &mut self,
        session: &mut ConsumeSession<'_>,
        events: &mut (impl Stream<Item = Event> + Send + Unpin),
        poller: ConsumerCountPoller<'_>,
    ) -> Result<(), SessionError> {
        let poll = poller.next(true);
        tokio::pin!(poll);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (gate, prefetch) = (*self.gate.borrow_and_update(), *self.prefetch.borrow_and_update());
            self.observe_slow_start(session);
            self.update_subscription(session, gate, prefetch).await?;
            self.max_in_hand.store(session.max_in_hand(prefetch), Ordering::Relaxed);
            tokio::select! {
                biased;
                () = sleep_until(session.ack_due()) => session.flush_acks(false).await?,
                () = sleep_until(session.slow_start().due()) => session.advance_slow_start(),
                Some(tag) = self.settled.recv() => self.settle(session, tag),
                delivery = session.next() => self.forward(session, delivery)?,
                Ok(()) = self.gate.changed() => {}
                Ok(()) = self.prefetch.changed() => {}
                _ = ticks.tick(), if gate.probe_requested() || session.is_narrow() => {}
                event = events.next() => match event {
                    // The refusal of a poll, which closed the poll's channel only.
                    Some(Event::Error(error)) if session.is_open() && channel_refusal(&error).is_some() => {}
                    Some(Event::Error(error)) => return Err(error.into()),
                    Some(_) => {}
                    None => return Err(SessionError::ConnectionClosed),
                },
                polled = &mut poll => {
                    let (poller, count) = polled?;
                    let fast = session.check_consumer_count(count, &mut self.other_consumers)?;
                    poll.set(poller.next(fast));
                }
                () = self.stop.cancelled() => return self.finish(session).await,
            }
        }
    }

    /// The pipeline must not end before the deliveries of a subscription in progress have arrived.
    async fn update_subscription(
        &self,
        session: &mut ConsumeSession<'_>,
        gate: GateState,
        prefetch: u16,
    ) -> Result<(), SessionError> {
        let demand = demand(gate);
        if session.will_subscribe(demand) {
            self.is_consuming.store(true, Ordering::Relaxed);
        }
        session.update_subscription(demand, prefetch).await?;
        let is_draining = gate.is_closed_by(GateReason::Drain);
        let is_consuming = if is_draining { session.is_subscribed() } else { session.is_consuming() };
        // Fails while the pipeline drains; the broker then requeues the deliveries.
        session.take_early().into_iter().for_each(|delivery| drop(self.deliveries.send(delivery)));
        self.is_consuming.store(is_consuming, Ordering::Relaxed);
        Ok(())
    }

    fn observe_slow_start(&mut self, session: &ConsumeSession<'_>) {
        let Consumer { names, telemetry, .. } = &*self.consumer;
        self.ended_sessions.observe(session.slow_start(), names, telemetry);
    }

    /// Forwards all deliveries that are ready: a turn of the loop costs more than a delivery.
    fn forward(&mut self, session: &mut ConsumeSession<'_>, first: Option<DeliveryResult>) -> Result<(), SessionError> {
        let mut next = Some(first);
        while let Some(result) = next {
            if let Some(delivery) = session.receive(result, &mut self.other_consumers)? {
                // Fails while the pipeline drains; the broker then requeues the delivery.
                drop(self.deliveries.send(delivery));
            }
            next = session.next().now_or_never();
        }
        Ok(())
    }

    fn settle(&mut self, session: &mut ConsumeSession<'_>, first: DeliveryTag) {
        session.settle(first);
        while let Ok(tag) = self.settled.try_recv() {
            session.settle(tag);
        }
    }

    /// Acknowledges what was settled, then closes the channel.
    async fn finish(&mut self, session: &mut ConsumeSession<'_>) -> Result<(), SessionError> {
        self.acks_flushed = false;
        while let Ok(tag) = self.settled.try_recv() {
            session.settle(tag);
        }
        session.drain_acks(self.consumer.prefetch).await?;
        self.acks_flushed = true;
        session.close().await
    }
}

fn demand(gate: GateState) -> Demand {
    if gate.is_open() {
        Demand::Commands
    } else if gate.probe_requested() && !gate.is_closed_by(GateReason::Drain) {
        Demand::Probe
    } else {
        Demand::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Gate;

    #[test]
    fn drain_ends_the_demand_for_probes() {
        let gate = Gate::default();
        assert_eq!(demand(gate.state()), Demand::Commands);
        let _auth = gate.close(GateReason::Auth, "refused");
        assert_eq!(demand(gate.state()), Demand::Nothing);
        gate.request_probe(true);
        assert_eq!(demand(gate.state()), Demand::Probe);
        let _drain = gate.close(GateReason::Drain, "a shutdown was requested");
        assert_eq!(demand(gate.state()), Demand::Nothing);
    }
}
