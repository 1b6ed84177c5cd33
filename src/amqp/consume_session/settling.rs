//! Settles deliveries: sends their acknowledgements to the broker.

use futures_util::future::try_join_all;
use lapin::options::BasicAckOptions;
use tokio::time::{Instant, sleep_until};

use super::ConsumeSession;
use crate::{
    amqp::{acks::Ack, error::SessionError, other_consumers::ACK_PROCESSING_TIME, timeout::with_timeout},
    ports::DeliveryTag,
};

impl ConsumeSession<'_> {
    /// Marks a delivery as settled; ignores those of earlier sessions, which the broker has requeued.
    pub(in crate::amqp) fn settle(&mut self, tag: DeliveryTag) {
        if tag.generation == self.generation {
            self.acks.settle(tag.number);
            self.slow_start.settle(tag.number);
            self.large.remove(tag.number);
        }
    }

    /// Sends the acknowledgements that are due, or all of them, in one write.
    pub(in crate::amqp) async fn flush_acks(&mut self, all: bool) -> Result<(), SessionError> {
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
    pub(in crate::amqp) async fn drain_acks(&mut self, prefetch: u16) -> Result<(), SessionError> {
        self.flush_acks(true).await?;
        self.set_qos(prefetch).await?;
        if let Some(last) = self.last_ack_at {
            sleep_until(last + ACK_PROCESSING_TIME).await;
        }
        Ok(())
    }

    /// Whether the broker may still count a cancelled consumer whose deliveries are settled.
    pub(super) fn are_acks_in_flight(&self) -> bool {
        self.last_ack_at.is_some_and(|at| at.elapsed() < ACK_PROCESSING_TIME)
    }
}
