//! One session on the command queue: subscribes while the gate is open, tracks deliveries, sends acknowledgements.

mod counts;
mod settling;

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::{
    Channel, Connection,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use tokio::time::Instant;

use super::{
    acks::AckTracker,
    body_sizes::{BodySizes, LargeBodies},
    consumer::Consumer,
    consumer_count::answer_timeout,
    earlier_subscriptions::EarlierSubscriptions,
    error::SessionError,
    other_consumers::{OtherConsumers, OwnConsumer},
    properties,
    short_string::short_string,
    slow_start::SlowStart,
    subscription::{ActiveSubscription, DeliveryResult, Demand, Subscription, SubscriptionWindow, window_size},
    timeout::{with_timeout, within},
    topology::{QueueCounts, TopologyProbe},
};
use crate::{
    domain::properties::header,
    gate::GateReason,
    ports::{Delivery, DeliveryTag},
    telemetry::events::{ConsumerStarted, ConsumerStopped},
};

/// The least time from one probe's delivery to the next probe's subscription.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// Deliveries that a probe takes while the brake is closed: good commands may wait behind many of one sender's wrong ones.
const BRAKE_PROBE_SIZE: u16 = 16;

/// What a session begins with.
pub(super) struct SessionStart {
    pub(super) generation: u64,
    pub(super) slow_start: SlowStart,
    /// As of the last session.
    pub(super) sizes: BodySizes,
    /// Whether the broker has several addresses.
    pub(super) has_other_nodes: bool,
}

/// The session of one generation, on one channel.
pub(super) struct ConsumeSession<'a> {
    consumer: Arc<Consumer>,
    channel: Channel,
    probe: TopologyProbe<'a>,
    generation: u64,
    has_other_nodes: bool,
    /// Whether the user may inspect the queue.
    can_inspect: bool,
    subscription: Subscription,
    own: OwnConsumer,
    /// Another subscription must replace the present one.
    needs_renewal: bool,
    /// Arrived while a subscription was being cancelled.
    early: Vec<Delivery>,
    /// The subscription takes a few commands, of which one probes whether the gate may open.
    is_probe: bool,
    next_probe: Instant,
    /// The prefetch that the log shows last.
    logged_prefetch: Option<u16>,
    slow_start: SlowStart,
    sizes: BodySizes,
    large: LargeBodies,
    acks: AckTracker,
    earlier: EarlierSubscriptions,
    /// The last delivery of the subscriptions before the present one.
    last_of_earlier: u64,
    /// Consecutive counts of no consumer beside ready messages.
    zero_counts: u32,
    last_ack_at: Option<Instant>,
}

impl<'a> ConsumeSession<'a> {
    pub(super) fn new(
        consumer: Arc<Consumer>,
        connection: &'a Connection,
        channel: Channel,
        start: SessionStart,
    ) -> Self {
        let SessionStart { generation, slow_start, sizes, has_other_nodes } = start;
        Self {
            consumer,
            channel,
            probe: TopologyProbe::new(connection),
            generation,
            has_other_nodes,
            can_inspect: true,
            subscription: Subscription::None,
            own: OwnConsumer::none(),
            needs_renewal: false,
            early: Vec::new(),
            is_probe: false,
            next_probe: Instant::now(),
            logged_prefetch: None,
            slow_start,
            sizes,
            large: LargeBodies::default(),
            acks: AckTracker::default(),
            earlier: EarlierSubscriptions::default(),
            last_of_earlier: 0,
            zero_counts: 0,
            last_ack_at: None,
        }
    }

    /// Whether the broker delivers commands, and not only one to probe the gate.
    pub(super) const fn is_consuming(&self) -> bool {
        !matches!(self.subscription, Subscription::None) && !self.is_probe
    }

    /// Whether deliveries may arrive, be it one to probe the gate.
    pub(super) const fn is_subscribed(&self) -> bool {
        !matches!(self.subscription, Subscription::None)
    }

    /// Whether the channel is open.
    pub(super) fn is_open(&self) -> bool {
        self.channel.status().connected()
    }

    pub(super) fn is_narrow(&self) -> bool {
        self.subscription.is_narrow()
    }

    pub(super) const fn slow_start(&self) -> &SlowStart {
        &self.slow_start
    }

    /// The sizes of recent bodies.
    pub(super) const fn sizes(&self) -> BodySizes {
        self.sizes
    }

    /// The most deliveries that may be in hand with this prefetch and the sizes of recent bodies.
    pub(super) fn max_in_hand(&self, prefetch: u16) -> u16 {
        prefetch.min(self.sizes.max_in_hand())
    }

    /// The largest subscription that may be opened now.
    fn max_size(&self) -> u16 {
        self.slow_start.max_size().min(self.sizes.max_size())
    }

    /// Counts the deliveries that are proven by their time in hand; due at [`SlowStart::due`].
    pub(super) fn advance_slow_start(&mut self) {
        self.slow_start.advance(Instant::now());
    }

    /// When [`Self::flush_acks`] is due, if it is.
    pub(super) fn ack_due(&self) -> Option<Instant> {
        self.acks.flush_due()
    }

    /// The next result of the subscription, for [`Self::receive`]. Pends while there is no subscription.
    pub(super) async fn next(&mut self) -> Option<DeliveryResult> {
        self.subscription.next().await
    }

    /// Subscribes and cancels as the gate demands. Another size needs another subscription: RabbitMQ applies `basic.qos`
    /// to new consumers only.
    pub(super) async fn update_subscription(&mut self, demand: Demand, prefetch: u16) -> Result<(), SessionError> {
        self.subscription = match std::mem::replace(&mut self.subscription, Subscription::None) {
            Subscription::Active(active) if self.is_outdated(&active.window, demand, prefetch) => {
                self.cancel(active.consumer).await?
            }
            unchanged => unchanged,
        };
        if self.will_subscribe(demand) {
            self.subscription = self.open_subscription(demand, prefetch).await?;
        }
        Ok(())
    }

    /// Whether [`Self::update_subscription`] would open one.
    pub(super) fn will_subscribe(&self, demand: Demand) -> bool {
        !self.is_subscribed() && self.is_due(demand)
    }

    fn is_due(&self, demand: Demand) -> bool {
        let is_wanted = match demand {
            Demand::Nothing => false,
            Demand::Probe => self.next_probe <= Instant::now(),
            Demand::Commands => true,
        };
        is_wanted && self.large.have_room(&self.sizes)
    }

    /// Cancels a subscription, and accepts the deliveries that arrive before the broker's reply: they may be too large to
    /// wait for it.
    async fn cancel(&mut self, mut consumer: lapin::Consumer) -> Result<Subscription, SessionError> {
        let (channel, tag) = (self.channel.clone(), consumer.tag());
        let cancel = channel.basic_cancel(tag, BasicCancelOptions::default());
        let mut reply = pin!(within(answer_timeout(self.has_other_nodes), "basic.cancel", cancel));
        loop {
            tokio::select! {
                biased;
                delivery = consumer.next() => match delivery {
                    Some(delivery) => {
                        let delivery = self.accept(delivery?)?;
                        self.early.push(delivery);
                    }
                    None => {
                        reply.await?;
                        self.record_cancelled();
                        return Ok(Subscription::None);
                    }
                },
                replied = &mut reply => return replied.map(|()| Subscription::Cancelling(consumer)),
            }
        }
    }

    /// Takes the deliveries that arrived while a subscription was being cancelled.
    pub(super) fn take_early(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.early)
    }

    fn is_outdated(&self, window: &SubscriptionWindow, demand: Demand, prefetch: u16) -> bool {
        let has_delivered = self.acks.contiguous_to() > self.last_of_earlier;
        match demand {
            Demand::Nothing => true,
            Demand::Probe => !self.is_probe || has_delivered || self.needs_renewal,
            Demand::Commands => {
                let (max_size, unsettled) = (self.max_size(), self.unsettled());
                // In isolation, commands that wait in hand must not hold up the next one.
                let is_used_up = !self.slow_start.is_over()
                    && self.slow_start.is_proven()
                    && unsettled < self.max_in_hand(prefetch)
                    && self.acks.unsettled_after(self.last_of_earlier) >= usize::from(window.size);
                self.is_probe || is_used_up || self.needs_renewal || window.is_outdated(prefetch, max_size, unsettled)
            }
        }
    }

    async fn open_subscription(&mut self, demand: Demand, prefetch: u16) -> Result<Subscription, SessionError> {
        self.is_probe = demand == Demand::Probe;
        let max_size = if self.is_probe { self.probe_size() } else { self.max_size() };
        let free = if self.is_probe { u16::MAX } else { window_size(self.max_in_hand(prefetch), self.unsettled()) };
        let size = free.min(max_size);
        let before = self.queue_counts().await?;
        self.set_qos(size).await?;
        let last = self.acks.contiguous_to();
        let first = std::mem::replace(&mut self.last_of_earlier, last) + 1;
        self.earlier.push(first..=last);
        let earlier = self.earlier.count(&self.acks).filter(|_| !self.are_acks_in_flight());
        let consumer = self.subscribe().await?;
        let opened_at = Instant::now();
        (self.own, self.needs_renewal) = (self.own.renewed(before, earlier), false);
        if before.is_some_and(|counts| !counts.is_proven()) {
            let after = self.queue_counts().await?;
            self.own.record_counts_after_zeros(after);
        }
        self.slow_start.record_subscription(opened_at);
        if !self.is_probe && self.logged_prefetch.replace(prefetch) != Some(prefetch) {
            self.consumer.telemetry.record(ConsumerStarted { queue: &self.consumer.names.commands(), prefetch });
        }
        let window = SubscriptionWindow { opened_at, prefetch, max_size, size };
        Ok(Subscription::Active(ActiveSubscription { consumer, window }))
    }

    /// The counts of the queue, if the user may inspect it: a refusal closes a channel.
    async fn queue_counts(&mut self) -> Result<Option<QueueCounts>, SessionError> {
        if !self.can_inspect {
            return Ok(None);
        }
        let counts = self.probe.queue_counts(&self.consumer.names.commands()).await?;
        self.can_inspect = counts.is_some();
        Ok(counts)
    }

    fn probe_size(&self) -> u16 {
        if self.consumer.gate.state().is_closed_by(GateReason::Brake) {
            self.max_size().min(BRAKE_PROBE_SIZE)
        } else {
            1
        }
    }

    fn unsettled(&self) -> u16 {
        u16::try_from(self.acks.unsettled_count()).unwrap_or(u16::MAX)
    }

    async fn set_qos(&self, prefetch: u16) -> Result<(), SessionError> {
        with_timeout("basic.qos", self.channel.basic_qos(prefetch, BasicQosOptions::default())).await
    }

    async fn subscribe(&self) -> Result<lapin::Consumer, SessionError> {
        let (queue, generated_tag) = (short_string(self.consumer.names.commands()), ShortString::default());
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consume = self.channel.basic_consume(queue, generated_tag, options, arguments);
        within(answer_timeout(self.has_other_nodes), "basic.consume", consume).await
    }

    /// Accepts a delivery; the end of the subscription is an error unless it was cancelled here.
    pub(super) fn receive(
        &mut self,
        result: Option<DeliveryResult>,
        others: &mut OtherConsumers,
    ) -> Result<Option<Delivery>, SessionError> {
        let is_active = matches!(self.subscription, Subscription::Active(_));
        match result {
            Some(Ok(delivery)) => {
                if is_active && self.own.record_delivery(Instant::now()) {
                    (self.consumer.on_other_consumers)(others.take_over());
                }
                self.accept(delivery).map(Some)
            }
            Some(Err(error)) => Err(error.into()),
            None if matches!(self.subscription, Subscription::Cancelling(_)) => {
                self.subscription = Subscription::None;
                self.record_cancelled();
                Ok(None)
            }
            None => Err(SessionError::ConsumerCancelled(self.consumer.names.commands())),
        }
    }

    fn record_cancelled(&mut self) {
        // With an open gate a new subscription follows at once.
        if !self.is_probe && !self.consumer.gate.state().is_open() {
            self.logged_prefetch = None;
            self.sizes.interrupt();
            self.consumer.telemetry.record(ConsumerStopped { why: "the gate is closed" });
        }
    }

    fn accept(&mut self, delivery: lapin::message::Delivery) -> Result<Delivery, SessionError> {
        let (number, now) = (delivery.delivery_tag, Instant::now());
        let (properties, returns) = (properties::read(&delivery.properties), properties::returns(&delivery.properties));
        // A copy made because of many returns is as much in doubt as they were.
        let redelivered = delivery.redelivered || properties.headers.contains_key(header::RETURNS);
        self.acks.record_delivery(number);
        self.slow_start.record_delivery(number, returns, now);
        self.sizes.record(delivery.data.len());
        if let Some(bytes) = self.large.insert(number, delivery.data.len(), &self.sizes) {
            return Err(SessionError::TooManyBytes { bytes });
        }
        self.zero_counts = 0;
        if self.is_probe {
            self.next_probe = now + PROBE_INTERVAL;
        }
        Ok(Delivery {
            tag: DeliveryTag { generation: self.generation, number },
            properties,
            returns,
            redelivered,
            is_sole_consumer: self.own.is_sole(),
            source: [delivery.exchange.as_str(), "/", delivery.routing_key.as_str()].concat(),
            body: Bytes::from(delivery.data),
        })
    }

    pub(super) async fn close(&self) -> Result<(), SessionError> {
        with_timeout("channel.close", self.channel.close(200, "done".into())).await
    }
}
