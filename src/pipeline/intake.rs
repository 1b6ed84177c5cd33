//! Takes deliveries in hand, each in a task of its own, and lets them finish at shutdown.

use tokio::task::{JoinError, JoinSet};

use super::{Pipeline, journey::Journey};
use crate::{
    domain::decode,
    ports::{Clock, Delivery, Inbox, Ports},
    telemetry::events::CommandReceived,
};

/// How the work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Everything in hand was settled or released.
    Complete,
    /// Time ran out with this many commands in hand; the broker hands them out again.
    OutOfTime(usize),
    /// The work on a command panicked: a bug. The command was not settled.
    Panicked,
}

impl<P: Ports> Pipeline<P> {
    /// Works until the drain begins, then finishes what is in hand. How many deliveries can be in hand is bounded by the
    /// broker's prefetch, not here.
    pub async fn run(self, mut inbox: impl Inbox) -> Drained {
        let mut work = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = self.shared.drain.cancelled() => break,
                Some(done) = work.join_next() => if panicked(&done) { return Drained::Panicked },
                delivery = inbox.next() => match delivery {
                    Some(delivery) => drop(work.spawn(self.clone().handle(delivery))),
                    None => break,
                },
            }
        }
        self.finish(work).await
    }

    async fn finish(&self, mut work: JoinSet<()>) -> Drained {
        let finishing = async {
            while let Some(done) = work.join_next().await {
                if panicked(&done) {
                    return Drained::Panicked;
                }
            }
            Drained::Complete
        };
        let finished = tokio::time::timeout(self.shared.rules.drain, finishing).await;
        finished.unwrap_or_else(|_| Drained::OutOfTime(work.len()))
    }

    async fn handle(self, delivery: Delivery) {
        let in_hand = self.shared.telemetry.in_hand();
        let now = self.shared.ports.clock().now();
        let mut journey = Journey::begin(&delivery, now);
        self.shared.telemetry.record(CommandReceived { redelivered: delivery.redelivered, waited: journey.queued() });
        let new_id = || uuid::Uuid::new_v4().to_string();
        match decode::decode(&delivery.body, &delivery.properties, &self.shared.rules.limits, new_id) {
            Err(malformed) => self.settle_malformed(&delivery, &journey, &malformed).await,
            Ok(command) => {
                if let Some(ending) = self.attempt(&delivery, &command, &mut journey).await {
                    self.settle(&delivery, &command, &journey, ending).await;
                }
            }
        }
        drop(in_hand);
    }
}

fn panicked(done: &Result<(), JoinError>) -> bool {
    done.as_ref().is_err_and(JoinError::is_panic)
}
