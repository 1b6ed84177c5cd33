//! The publishes of one session that await their confirm.

use std::{collections::VecDeque, future::pending, time::Duration};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::time::Instant;

use super::{
    publish::{ConfirmedPublish, PublishFuture, route},
    returns::ReturnMatcher,
    topology::TopologyNames,
};
use crate::ports::PublishError;

/// Limit of publishes that await their confirm; the library scans all of them for a cumulative confirm.
const MAX_UNCONFIRMED: usize = 1_024;
/// A publish without a confirm for this long ends the session, even if later ones are confirmed.
pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);

/// Dropping it drops the result senders: the callers learn that no confirm came.
pub(super) struct PendingConfirms<F> {
    names: TopologyNames,
    publishes: FuturesUnordered<F>,
    returns: ReturnMatcher<ConfirmedPublish>,
    sent: SendTimes,
    /// The timeout of earlier publishes starts here.
    restarted_at: Option<Instant>,
}

impl<F: PublishFuture> PendingConfirms<F> {
    pub(super) fn new(names: &TopologyNames) -> Self {
        Self {
            names: names.clone(),
            publishes: FuturesUnordered::new(),
            returns: ReturnMatcher::default(),
            sent: SendTimes::default(),
            restarted_at: None,
        }
    }

    /// Whether another publish may be added.
    pub(super) fn has_room(&self) -> bool {
        self.publishes.len() < MAX_UNCONFIRMED && !self.returns.must_drain()
    }

    /// Adds the publish with the sequence number that it is given. [`Self::resolve`] polls it.
    pub(super) fn push(&mut self, publish: impl FnOnce(u64) -> F) {
        let sequence = self.sent.push(Instant::now());
        self.publishes.push(publish(sequence));
    }

    /// Waits for a confirm, collects all that are ready and sends the results. Pends while no confirm is outstanding.
    ///
    /// # Errors
    /// The channel or the connection broke.
    pub(super) async fn resolve(&mut self) -> Result<(), lapin::Error> {
        let Some(first) = self.publishes.next().await else { return pending().await };
        let mut next = Some(first);
        while let Some(confirm) = next {
            let confirm = confirm?;
            self.sent.remove(confirm.publish.sequence);
            self.returns.push(confirm);
            next = self.publishes.next().now_or_never().flatten();
        }
        let route = |publish: &ConfirmedPublish| route(&self.names, &publish.message.target);
        for (publish, is_routed) in self.returns.resolve(self.publishes.len(), route) {
            let result = match (publish.is_acked, is_routed) {
                (false, _) => Err(PublishError::Refused),
                (true, false) => Err(PublishError::Returned),
                (true, true) => Ok(()),
            };
            // The caller may have given up, at shutdown.
            let _ = publish.reply.send(result);
        }
        Ok(())
    }

    /// Restarts the timeout, after a time in which the broker blocked the connection.
    pub(super) fn restart_timeout(&mut self) {
        self.restarted_at = Some(Instant::now());
    }

    /// When the confirm of the oldest publish is overdue; `None` while no confirm is outstanding.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let oldest = self.sent.oldest()?;
        Some(self.restarted_at.map_or(oldest, |restarted_at| restarted_at.max(oldest)) + CONFIRM_TIMEOUT)
    }
}

/// When each unconfirmed publish was sent, by sequence number.
#[derive(Default)]
struct SendTimes {
    /// Sequence number of the first entry.
    first: u64,
    /// `None` once confirmed; the first entry is always unconfirmed.
    times: VecDeque<Option<Instant>>,
}

impl SendTimes {
    /// Returns the sequence number of the new entry.
    fn push(&mut self, now: Instant) -> u64 {
        self.times.push_back(Some(now));
        self.first + self.times.len() as u64 - 1
    }

    fn remove(&mut self, sequence: u64) {
        let index = sequence.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(time) = index.and_then(|index| self.times.get_mut(index)) {
            *time = None;
        }
        while let Some(None) = self.times.front() {
            self.times.pop_front();
            self.first += 1;
        }
    }

    fn oldest(&self) -> Option<Instant> {
        *self.times.front()?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use futures_util::future::BoxFuture;
    use tokio::{sync::oneshot, time::advance};

    use super::*;
    use crate::{
        amqp::returns::Confirm,
        domain::{
            message::{Message, Target},
            properties::Properties,
        },
    };

    type BoxedPublish = BoxFuture<'static, Result<Confirm<ConfirmedPublish>, lapin::Error>>;

    fn confirm(sequence: u64) -> Confirm<ConfirmedPublish> {
        let target = Target::Reply("queue".to_owned());
        let message = Arc::new(Message { target, properties: Properties::default(), body: Bytes::new() });
        let publish = ConfirmedPublish { sequence, message, reply: oneshot::channel().0, is_acked: true };
        Confirm { returned: None, publish }
    }

    fn never(_: u64) -> BoxedPublish {
        pending().boxed()
    }

    fn is_overdue(pending: &PendingConfirms<BoxedPublish>) -> bool {
        pending.deadline().is_some_and(|deadline| deadline <= Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn missing_confirm_is_overdue_although_later_ones_arrive() {
        let mut pending = PendingConfirms::new(&TopologyNames::new("p"));
        assert!(pending.deadline().is_none(), "no confirm is outstanding");
        pending.push(never);
        for _ in 0..9 {
            advance(Duration::from_secs(1)).await;
            pending.push(|sequence| async move { Ok(confirm(sequence)) }.boxed());
            pending.resolve().await.unwrap();
            assert!(!is_overdue(&pending));
        }
        advance(Duration::from_secs(1)).await;
        assert!(is_overdue(&pending));
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_after_confirm_is_that_of_the_next_publish() {
        let mut pending = PendingConfirms::new(&TopologyNames::new("p"));
        let (sender, confirmed) = oneshot::channel();
        pending.push(|sequence| async move { confirmed.await.map(|()| Ok(confirm(sequence))).unwrap() }.boxed());
        advance(Duration::from_secs(7)).await;
        pending.push(never);
        sender.send(()).unwrap();
        pending.resolve().await.unwrap();
        advance(Duration::from_secs(7)).await;
        assert!(!is_overdue(&pending), "outstanding for 7 s");
        advance(Duration::from_secs(3)).await;
        assert!(is_overdue(&pending));
    }

    #[tokio::test(start_paused = true)]
    async fn restarted_timeout_ignores_the_time_before() {
        let mut pending = PendingConfirms::new(&TopologyNames::new("p"));
        pending.push(never);
        advance(Duration::from_secs(1_000)).await;
        pending.restart_timeout();
        advance(Duration::from_secs(9)).await;
        assert!(!is_overdue(&pending));
        advance(Duration::from_secs(1)).await;
        assert!(is_overdue(&pending));
    }
}
