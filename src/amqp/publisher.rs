//! The publish session: one task owns the channel, many publishes are on their way at once.
//!
//! One task, because the library numbers publishes and queues their frames under different locks: two threads on one
//! channel can swap places, and each is told the other's fate.

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::{FutureExt, Stream, StreamExt};
use lapin::{Channel, Connection, Event, options::ConfirmSelectOptions};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    connect::{Broker, OPERATION_DEADLINE, timed, until},
    error::SessionError,
    flight::{self, CONFIRM_DEADLINE, Flight, Job, Publish},
    supervise::{Serve, Supervisor},
    topology::{Asker, Names, refusal},
};
use crate::{
    domain::message::Message,
    gate::{Gate, GateHold, GateReason},
    ports::{Outbox, PublishError, Random},
    telemetry::{
        Role, Telemetry,
        events::{Connected, PublishConfirmed, PublishFailed},
    },
};

/// After so many publishes that left together, more are awaited for a moment: each departure wakes the library's own thread,
/// and the broker's.
const BUSY: usize = 4;
/// No more than this are leaving at once: until its thread has written them, the library takes four KiB for each, some of it in
/// a list that grows and never shrinks.
const MOST_LEAVING: usize = 64;
const MOMENT: Duration = Duration::from_millis(1);

/// Publishes; clones share the one session. A publish waits while there is no session.
#[derive(Clone)]
pub struct Publisher {
    jobs: mpsc::UnboundedSender<Job>,
    telemetry: Telemetry,
}

impl Outbox for Publisher {
    async fn publish(&self, message: Arc<Message>) -> Result<(), PublishError> {
        let started = Instant::now();
        let target = &message.target;
        let unconfirmed = self.telemetry.unconfirmed();
        let result = self.hand_over(message.clone()).await;
        drop(unconfirmed);
        match result {
            Ok(()) => self.telemetry.record(PublishConfirmed { target, took: started.elapsed() }),
            Err(error) => self.telemetry.record(PublishFailed { target, error }),
        }
        result
    }
}

impl Publisher {
    /// A publisher and the task that serves it until `stop` and tells whether it could flush. The gate is held closed whenever
    /// there is no session that the broker is known to let publish: an outcome that cannot be recorded must not be created.
    pub fn new<R: Random>(
        broker: Arc<Broker>,
        names: Names,
        gate: Gate,
        telemetry: Telemetry,
        random: R,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = bool> + Send) {
        // Unbounded, yet never longer than what is in hand: who asks waits for the answer.
        let (sender, jobs) = mpsc::unbounded_channel();
        let supervisor =
            Supervisor { broker, role: Role::Publish, telemetry: telemetry.clone(), random, stop: stop.clone() };
        let hold = Some(gate.close_unreported(GateReason::Blocked));
        let owner = Owner { names, gate, telemetry: telemetry.clone(), stop, jobs, hold, is_blocked: false };
        let serving = async move { supervisor.run(owner).await };
        (Self { jobs: sender, telemetry }, serving)
    }

    async fn hand_over(&self, message: Arc<Message>) -> Result<(), PublishError> {
        let (reply, told) = oneshot::channel();
        self.jobs.send(Job { message, reply }).map_err(|_| PublishError::Unconfirmed)?;
        // A dropped reply: the session that had the message ended before its confirm came.
        told.await.unwrap_or(Err(PublishError::Unconfirmed))
    }
}

/// The task's state; it outlives the sessions.
struct Owner {
    names: Names,
    gate: Gate,
    telemetry: Telemetry,
    stop: CancellationToken,
    jobs: mpsc::UnboundedReceiver<Job>,
    /// Held while nothing can be published; unreported for want of a session, which is logged as such.
    hold: Option<GateHold>,
    /// The broker said on this connection that it blocks it.
    is_blocked: bool,
}

impl Serve for Owner {
    async fn serve(&mut self, connection: &Connection) -> Result<(), SessionError> {
        let channel = timed("channel.open", connection.create_channel()).await?;
        timed("confirm.select", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        self.telemetry.record(Connected { role: Role::Publish });
        let mut asker = Asker::new(connection);
        let events = self.names.events();
        let proof = asker.may_publish(&events);
        let result = self.publish_until_stopped(&channel, proof, connection.events_listener()).await;
        // A trouble that was told lasts until a later session may publish.
        self.hold.get_or_insert_with(|| self.gate.close_unreported(GateReason::Blocked));
        self.is_blocked = false;
        result
    }

    /// Nobody waits for a publish any more when we are stopped.
    fn is_flushed(&mut self) -> bool {
        true
    }
}

impl Owner {
    async fn publish_until_stopped(
        &mut self,
        channel: &Channel,
        proof: impl Future<Output = Result<(), SessionError>> + Send,
        events: impl Stream<Item = Event> + Send,
    ) -> Result<(), SessionError> {
        tokio::pin!(proof, events);
        let (mut is_proven, proof_due) = (false, Instant::now() + OPERATION_DEADLINE);
        let (mut flight, mut not_before) = (Flight::new(&self.names), Instant::now());
        let leaving = Arc::new(Semaphore::new(MOST_LEAVING));
        loop {
            let deadline = flight.deadline();
            let has_room = self.hold.is_none() && flight.has_room();
            tokio::select! {
                biased;
                landed = flight.land() => landed?,
                event = events.next() => self.heed(event, channel, &mut flight)?,
                proven = &mut proof, if !is_proven => {
                    proven?;
                    is_proven = true;
                    self.hold.take_if(|_| !self.is_blocked);
                }
                () = tokio::time::sleep_until(proof_due), if self.hold.is_some() && !is_proven && !self.is_blocked => {
                    return Err(SessionError::Deadline { operation: "tx.rollback", deadline: OPERATION_DEADLINE });
                }
                () = until(deadline), if self.hold.is_none() => {
                    return Err(SessionError::Deadline { operation: "a publish", deadline: CONFIRM_DEADLINE });
                }
                Some(first) = next(&mut self.jobs, &leaving), if has_room => {
                    tokio::time::sleep_until(not_before).await;
                    let (before, mut ready) = (flight.outstanding(), Some(first));
                    // What waits together leaves together: a turn costs more than a message.
                    while let Some((job, leaves)) = ready {
                        flight.take_off(|number| flight::publish(channel, &self.names, job, number, leaves));
                        ready = flight.has_room().then(|| next(&mut self.jobs, &leaving).now_or_never()).flatten().flatten();
                    }
                    if flight.outstanding() >= before + BUSY {
                        not_before = Instant::now() + MOMENT;
                    }
                }
                () = self.stop.cancelled(), if deadline.is_none() => {
                    return timed("channel.close", channel.close(200, "done".into())).await;
                }
            }
        }
    }

    /// A broker in need blocks us: the gate closes until it has room again. No confirm is late meanwhile.
    fn heed<F: Publish>(
        &mut self,
        event: Option<Event>,
        channel: &Channel,
        flight: &mut Flight<F>,
    ) -> Result<(), SessionError> {
        match event {
            Some(Event::ConnectionBlocked(why)) => {
                let problem = format!("the broker blocks publishing: {why}");
                match &self.hold {
                    Some(hold) => hold.report(&problem),
                    None => self.hold = Some(self.gate.close(GateReason::Blocked, &problem)),
                }
                self.is_blocked = true;
            }
            Some(Event::ConnectionUnblocked) => {
                flight.restart_deadline();
                self.hold = None;
                self.is_blocked = false;
            }
            // On another channel: it is the answer to who asked there.
            Some(Event::Error(error)) if channel.status().connected() && refusal(&error).is_some() => {}
            Some(Event::Error(error)) => return Err(error.into()),
            Some(_) => {}
            None => return Err(SessionError::Ended),
        }
        Ok(())
    }
}

/// The next message to publish, once another may leave, and its right to.
async fn next(
    jobs: &mut mpsc::UnboundedReceiver<Job>,
    leaving: &Arc<Semaphore>,
) -> Option<(Job, OwnedSemaphorePermit)> {
    let leaves = leaving.clone().acquire_owned().await.ok()?;
    Some((jobs.recv().await?, leaves))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::{message::Target, properties::Properties};

    #[tokio::test]
    async fn one_more_may_leave_when_one_has_left() {
        let (sender, mut jobs) = mpsc::unbounded_channel();
        for _ in 0..2 {
            let target = Target::Reply("queue".to_owned());
            let message = Arc::new(Message { target, properties: Properties::default(), body: Bytes::new() });
            assert!(sender.send(Job { message, reply: oneshot::channel().0 }).is_ok());
        }
        let leaving = Arc::new(Semaphore::new(1));
        let first = next(&mut jobs, &leaving).await;
        assert!(first.is_some());
        assert!(next(&mut jobs, &leaving).now_or_never().is_none(), "the only place is taken");
        drop(first);
        assert!(next(&mut jobs, &leaving).await.is_some());
    }
}
