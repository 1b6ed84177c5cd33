//! Takes deliveries in hand, each in a task of its own, and lets them finish at shutdown.

use std::time::Duration;

use tokio::{
    task::{JoinError, JoinSet},
    time::MissedTickBehavior,
};

use super::{Pipeline, Shared, attempt::End, journey::Journey};
use crate::{
    domain::decode,
    gate::GateReason,
    ports::{Clock, Delivery, Inbox, Ports, Sender, Settler},
    telemetry::events::CommandReceived,
};

/// How the work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Everything in hand was settled or released.
    Complete,
    /// Everything was settled, but the broker may not have read the last acknowledgements: it may hand some out again.
    Unflushed,
    /// Time ran out with this many commands in hand; the broker hands them out again.
    OutOfTime(usize),
    /// A task of ours ended that must not: a bug. What it had in hand was not settled.
    Panicked,
}

/// How often it is looked whether a probe must be asked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl<P: Ports> Pipeline<P> {
    /// Works until the drain begins, then finishes what is in hand. How many deliveries can be in hand is bounded by the
    /// broker's prefetch, not here.
    pub async fn run(self, mut inbox: impl Inbox) -> Drained {
        let mut work = JoinSet::new();
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut bug = false;
        let renewals = self.shared.heed_renewals();
        tokio::pin!(renewals);
        while !bug {
            tokio::select! {
                biased;
                () = self.shared.drain.cancelled() => break,
                Some(done) = work.join_next() => bug = panicked(&done),
                () = &mut renewals => {}
                _ = looks.tick(), if !self.shared.gate.state().is_open() => self.shared.keeper.ask_for_probe(work.is_empty()),
                delivery = inbox.next() => match delivery {
                    Some(delivery) => self.take(&mut work, delivery),
                    // It lasts as long as the sessions do, and those are stopped after us.
                    None => bug = true,
                },
            }
        }
        self.shared.drain.cancel();
        let drained = self.finish(work).await;
        if bug { Drained::Panicked } else { drained }
    }

    fn take(&self, work: &mut JoinSet<()>, delivery: Delivery) {
        self.shared.gate.want_probe(false);
        work.spawn(self.clone().handle(delivery));
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
            // The copy of a lost session is handed out again: its dead letter would be written twice.
            Err(_) if !self.shared.ports.settler().is_current(delivery.tag) => {}
            Err(malformed) => self.settle_malformed(&delivery, &journey, &malformed).await,
            Ok(command) => match self.attempt(&delivery, &command, &mut journey).await {
                End::Told(ending) => self.settle(&delivery, &command, &journey, ending).await,
                End::Known(ended) => self.settle_known(&delivery, &command, &mut journey, ended).await,
                End::Parked(parking) => self.settle_parked(&delivery, &command, &journey, parking).await,
                End::Released => {}
            },
        }
        drop(in_hand);
    }
}

impl<P: Ports> Shared<P> {
    /// A credential that has been replaced while the old one kept the gate closed is tried at once. Never ends.
    async fn heed_renewals(&self) {
        loop {
            self.gate.until(|gate| gate.is_closed_by(GateReason::Auth)).await;
            tokio::select! {
                () = self.ports.sender().credential_changed() => self.keeper.hurry(GateReason::Auth),
                () = self.gate.until(|gate| !gate.is_closed_by(GateReason::Auth)) => {}
            }
        }
    }
}

fn panicked(done: &Result<(), JoinError>) -> bool {
    done.as_ref().is_err_and(JoinError::is_panic)
}
