//! One session on the command queue: subscribes while the gate is open, tracks deliveries, sends acknowledgements.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::try_join_all;
use lapin::{
    Channel, Connection,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use tokio::time::{Instant, sleep_until};

use super::{
    acks::{Ack, AckTracker},
    body_sizes::BodySizes,
    consumer::Consumer,
    consumer_count::{ConsumerCount, OtherConsumers},
    earlier_subscriptions::EarlierSubscriptions,
    error::SessionError,
    properties,
    short_string::short_string,
    slow_start::SlowStart,
    subscription::{ActiveSubscription, DeliveryResult, Demand, Subscription, SubscriptionWindow, window_size},
    timeout::with_timeout,
    topology::TopologyProbe,
};
use crate::{
    domain::properties::header,
    ports::{Delivery, DeliveryTag},
    telemetry::events::{ConsumerStarted, ConsumerStopped, ConsumersCounted},
};

/// How long the broker may take to process an acknowledgement that it has read.
const ACK_PROCESSING_TIME: Duration = Duration::from_secs(1);

/// The least time from one probe's delivery to the next probe's subscription.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// The session of one generation, on one channel.
pub(super) struct ConsumeSession {
    consumer: Arc<Consumer>,
    channel: Channel,
    generation: u64,
    subscription: Subscription,
    /// The subscription takes one command, to probe whether the gate may open.
    is_probe: bool,
    next_probe: Instant,
    /// The prefetch that the log shows last.
    logged_prefetch: Option<u16>,
    slow_start: SlowStart,
    sizes: BodySizes,
    acks: AckTracker,
    earlier: EarlierSubscriptions,
    /// The last delivery of the subscriptions before the present one.
    last_of_earlier: u64,
    /// Consecutive consumer counts of zero.
    zero_counts: u32,
    /// The broker counted no consumer but this one.
    is_sole_consumer: bool,
    last_ack_at: Option<Instant>,
}

impl ConsumeSession {
    pub(super) fn new(consumer: Arc<Consumer>, channel: Channel, generation: u64, slow_start: SlowStart) -> Self {
        let sizes = BodySizes::new(consumer.max_bytes);
        Self {
            consumer,
            channel,
            generation,
            subscription: Subscription::None,
            is_probe: false,
            next_probe: Instant::now(),
            logged_prefetch: None,
            slow_start,
            sizes,
            acks: AckTracker::default(),
            earlier: EarlierSubscriptions::default(),
            last_of_earlier: 0,
            zero_counts: 0,
            is_sole_consumer: false,
            last_ack_at: None,
        }
    }

    /// Asks the broker whether anybody still holds deliveries of the queue. RabbitMQ counts a consumer, also a cancelled one
    /// or one of a lost connection, until its deliveries are settled or returned.
    pub(super) async fn check_other_consumers(&mut self, connection: &Connection) -> Result<(), SessionError> {
        let consumers = TopologyProbe::new(connection).consumer_count(&self.consumer.names.commands()).await?;
        self.is_sole_consumer = consumers == Some(0);
        Ok(())
    }

    /// Whether the broker delivers commands, and not only one to probe the gate.
    pub(super) const fn is_consuming(&self) -> bool {
        !matches!(self.subscription, Subscription::None) && !self.is_probe
    }

    /// Whether the broker could deliver and nothing is in hand.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.subscription, Subscription::Active(_)) && self.acks.unsettled_count() == 0
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

    /// The most deliveries that may be in hand with this prefetch and the sizes of recent bodies.
    pub(super) fn max_in_hand(&self, prefetch: u16) -> u16 {
        prefetch.min(self.sizes.max_in_hand())
    }

    /// The largest subscription that may be opened now.
    fn max_size(&self) -> u16 {
        self.slow_start.max_size().min(self.sizes.max_in_hand())
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
            Subscription::None if self.is_due(demand) => self.open_subscription(demand, prefetch).await?,
            Subscription::Active(active) if self.is_outdated(&active.window, demand, prefetch) => {
                let cancel = self.channel.basic_cancel(active.consumer.tag(), BasicCancelOptions::default());
                with_timeout("basic.cancel", cancel).await?;
                Subscription::Cancelling(active.consumer)
            }
            unchanged => unchanged,
        };
        Ok(())
    }

    fn is_due(&self, demand: Demand) -> bool {
        match demand {
            Demand::Nothing => false,
            Demand::Probe => self.next_probe <= Instant::now(),
            Demand::Commands => true,
        }
    }

    fn is_outdated(&self, window: &SubscriptionWindow, demand: Demand, prefetch: u16) -> bool {
        let has_delivered = self.acks.contiguous_to() > self.last_of_earlier;
        match demand {
            Demand::Nothing => true,
            Demand::Probe => !self.is_probe || has_delivered,
            Demand::Commands => {
                let (max_size, unsettled) = (self.max_size(), self.unsettled());
                // In isolation, commands that wait in hand must not hold up the next one.
                let is_used_up = !self.slow_start.is_over()
                    && self.slow_start.is_proven()
                    && unsettled < self.max_in_hand(prefetch)
                    && self.acks.unsettled_after(self.last_of_earlier) >= usize::from(window.size);
                self.is_probe || is_used_up || window.is_outdated(prefetch, max_size, unsettled)
            }
        }
    }

    async fn open_subscription(&mut self, demand: Demand, prefetch: u16) -> Result<Subscription, SessionError> {
        self.is_probe = demand == Demand::Probe;
        let max_size = if self.is_probe { 1 } else { self.max_size() };
        let size = window_size(self.max_in_hand(prefetch), self.unsettled()).min(max_size);
        self.set_qos(size).await?;
        let last = self.acks.contiguous_to();
        let first = std::mem::replace(&mut self.last_of_earlier, last) + 1;
        self.earlier.push(first..=last);
        let consumer = self.subscribe().await?;
        let opened_at = Instant::now();
        self.slow_start.record_subscription(opened_at);
        if !self.is_probe && self.logged_prefetch.replace(prefetch) != Some(prefetch) {
            self.consumer.telemetry.record(ConsumerStarted { queue: &self.consumer.names.commands(), prefetch });
        }
        let window = SubscriptionWindow { opened_at, prefetch, max_size, size };
        Ok(Subscription::Active(ActiveSubscription { consumer, window }))
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
        with_timeout("basic.consume", self.channel.basic_consume(queue, generated_tag, options, arguments)).await
    }

    /// Accepts a delivery; the end of the subscription is an error unless it was cancelled here.
    pub(super) fn receive(&mut self, result: Option<DeliveryResult>) -> Result<Option<Delivery>, SessionError> {
        match result {
            Some(Ok(delivery)) => Ok(Some(self.accept(delivery))),
            Some(Err(error)) => Err(error.into()),
            None if matches!(self.subscription, Subscription::Cancelling(_)) => {
                self.subscription = Subscription::None;
                // With an open gate a new subscription follows at once.
                if !self.is_probe && !self.consumer.gate.state().is_open() {
                    self.logged_prefetch = None;
                    self.consumer.telemetry.record(ConsumerStopped { why: "the gate is closed" });
                }
                Ok(None)
            }
            None => Err(SessionError::ConsumerCancelled(self.consumer.names.commands())),
        }
    }

    fn accept(&mut self, delivery: lapin::message::Delivery) -> Delivery {
        let (number, now) = (delivery.delivery_tag, Instant::now());
        let (properties, returns) = (properties::read(&delivery.properties), properties::returns(&delivery.properties));
        // A copy made because of many returns is as much in doubt as they were.
        let redelivered = delivery.redelivered || properties.headers.contains_key(header::RETURNS);
        self.acks.record_delivery(number);
        self.slow_start.record_delivery(number, returns, now);
        self.sizes.record(delivery.data.len());
        self.zero_counts = 0;
        if self.is_probe {
            self.next_probe = now + PROBE_INTERVAL;
        }
        Delivery {
            tag: DeliveryTag { generation: self.generation, number },
            properties,
            returns,
            redelivered,
            is_sole_consumer: self.is_sole_consumer,
            source: [delivery.exchange.as_str(), "/", delivery.routing_key.as_str()].concat(),
            body: Bytes::from(delivery.data),
        }
    }

    /// Checks the broker's consumer count against the subscription and reports it. Returns whether to poll again soon.
    ///
    /// # Errors
    /// [`SessionError::ConsumerUnknown`] after consecutive counts of zero.
    pub(super) fn check_consumer_count(
        &mut self,
        mut count: ConsumerCount,
        others: &mut OtherConsumers,
    ) -> Result<bool, SessionError> {
        let Subscription::Active(ActiveSubscription { window, .. }) = &self.subscription else { return Ok(false) };
        if window.opened_at > count.requested_at {
            return Ok(false);
        }
        self.zero_counts = if count.consumers == 0 { self.zero_counts + 1 } else { 0 };
        let earlier = self.earlier.count(&self.acks);
        count.consumers = count.consumers.saturating_sub(earlier.unwrap_or(0));
        self.consumer.telemetry.record(ConsumersCounted { consumers: count.consumers });
        self.is_sole_consumer |= count.consumers == 1;
        if self.zero_counts >= count.max_zero_counts {
            return Err(SessionError::ConsumerUnknown(self.consumer.names.commands()));
        }
        if earlier.is_some() {
            (self.consumer.on_other_consumers)(others.update(count));
        }
        Ok(self.zero_counts > 0)
    }

    /// Marks a delivery as settled; ignores those of earlier sessions, which the broker has requeued.
    pub(super) fn settle(&mut self, tag: DeliveryTag) {
        if tag.generation == self.generation {
            self.acks.settle(tag.number);
            self.slow_start.settle(tag.number);
        }
    }

    /// Sends the acknowledgements that are due, or all of them, in one write.
    pub(super) async fn flush_acks(&mut self, all: bool) -> Result<(), SessionError> {
        let acks = self.acks.flush(all);
        if acks.is_empty() {
            return Ok(());
        }
        self.last_ack_at = Some(Instant::now());
        let send = |Ack { number, multiple }| self.channel.basic_ack(number, BasicAckOptions { multiple });
        with_timeout("basic.ack", try_join_all(acks.into_iter().map(send))).await.map(drop)
    }

    /// Sends all acknowledgements and waits until the broker has processed them.
    ///
    /// The reply to a later method proves that the broker has read them. But the channel of a quorum queue holds back
    /// acknowledgements beyond 32 that await the queue's log, and drops them when it closes; no method reports when it
    /// holds none, so a pause follows.
    pub(super) async fn drain_acks(&mut self, prefetch: u16) -> Result<(), SessionError> {
        self.flush_acks(true).await?;
        self.set_qos(prefetch).await?;
        if let Some(last) = self.last_ack_at {
            sleep_until(last + ACK_PROCESSING_TIME).await;
        }
        Ok(())
    }

    pub(super) async fn close(&self) -> Result<(), SessionError> {
        with_timeout("channel.close", self.channel.close(200, "done".into())).await
    }
}
