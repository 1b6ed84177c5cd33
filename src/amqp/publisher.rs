//! The publish session: one task owns the channel and pipelines all publishes on it.
//!
//! One task only, because the library numbers publishes and queues their frames under different locks: two threads that
//! publish on one channel can swap places, and each then gets the confirm of the other.

use std::{future::Future, sync::Arc};

use futures_util::{FutureExt, Stream, StreamExt};
use lapin::{Channel, Connection, Event, options::ConfirmSelectOptions};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    connect::BrokerAddresses,
    error::SessionError,
    pending_confirms::{CONFIRM_TIMEOUT, PendingConfirms},
    publish::{PublishFuture, PublishRequest, publish, route},
    supervise::{SessionTask, Supervisor},
    timeout::{OPERATION_TIMEOUT, sleep_until, with_timeout},
    topology::{TopologyNames, TopologyProbe, channel_refusal},
};
use crate::{
    domain::message::{Message, Target},
    gate::{Gate, GateHold, GateReason},
    ports::{Outbox, PublishError, Random},
    telemetry::{
        Role, Telemetry,
        events::{Connected, PublishConfirmed, PublishFailed},
    },
};

/// Limit of publishes that the library has not written yet: it takes 4 KiB for each, some of it in a list that never
/// shrinks.
const MAX_UNWRITTEN: usize = 64;

/// Publishes; clones share the one session. A publish waits while there is no session.
#[derive(Clone)]
pub struct Publisher {
    requests: mpsc::UnboundedSender<PublishRequest>,
    names: TopologyNames,
    telemetry: Telemetry,
}

impl Outbox for Publisher {
    async fn publish(&self, message: Arc<Message>) -> Result<(), PublishError> {
        let started_at = Instant::now();
        let target = &message.target;
        let unconfirmed = self.telemetry.unconfirmed();
        let result = self.request(message.clone()).await;
        drop(unconfirmed);
        match result {
            Ok(()) => self.telemetry.record(PublishConfirmed { target, took: started_at.elapsed() }),
            Err(error) => {
                let destination = &self.destination(target);
                self.telemetry.record(PublishFailed { target, destination, error });
            }
        }
        result
    }

    fn destination(&self, target: &Target) -> String {
        match target {
            // Its name is the producer's.
            Target::Reply(_) => "the queue in reply_to".to_owned(),
            _ => route(&self.names, target).to_string(),
        }
    }
}

impl Publisher {
    /// Returns a publisher and the task that serves it until `stop`; the task returns whether it could flush.
    ///
    /// The gate is held closed while no session is known to accept publishes: an outcome that cannot be recorded must
    /// not be created.
    pub fn new<R: Random>(
        broker: Arc<BrokerAddresses>,
        names: TopologyNames,
        gate: Gate,
        telemetry: Telemetry,
        random: R,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = bool> + Send) {
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded by the prefetch: each command in hand awaits its result"
        )]
        let (sender, requests) = mpsc::unbounded_channel();
        let supervisor =
            Supervisor { broker, role: Role::Publish, telemetry: telemetry.clone(), random, stop: stop.clone() };
        let hold = Some(gate.close_unreported(GateReason::Blocked));
        let task = PublisherTask {
            names: names.clone(),
            gate,
            telemetry: telemetry.clone(),
            stop,
            requests,
            hold,
            is_blocked: false,
        };
        let serving = async move { supervisor.run(task).await };
        (Self { requests: sender, names, telemetry }, serving)
    }

    async fn request(&self, message: Arc<Message>) -> Result<(), PublishError> {
        let (reply, result) = oneshot::channel();
        self.requests.send(PublishRequest { message, reply }).map_err(|_| PublishError::Unconfirmed)?;
        // The sender is dropped when the session ends before the confirm.
        result.await.unwrap_or(Err(PublishError::Unconfirmed))
    }
}

/// The state that outlives the sessions.
struct PublisherTask {
    names: TopologyNames,
    gate: Gate,
    telemetry: Telemetry,
    stop: CancellationToken,
    requests: mpsc::UnboundedReceiver<PublishRequest>,
    /// `Some` while nothing can be published; unreported while no session is known to accept publishes, as the lost
    /// connection is logged by itself.
    hold: Option<GateHold>,
    /// The broker has sent `connection.blocked` on this connection.
    is_blocked: bool,
}

impl SessionTask for PublisherTask {
    async fn run_session(&mut self, connection: &Connection) -> Result<(), SessionError> {
        let channel = with_timeout("channel.open", connection.create_channel()).await?;
        with_timeout("confirm.select", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        self.telemetry.record(Connected { role: Role::Publish });
        let mut probe = TopologyProbe::new(connection);
        let events_exchange = self.names.events();
        let unblocked = probe.await_unblocked(&events_exchange);
        let result = self.publish_until_stopped(&channel, unblocked, connection.events_listener()).await;
        // A reported block lasts until a later session may publish.
        self.hold.get_or_insert_with(|| self.gate.close_unreported(GateReason::Blocked));
        self.is_blocked = false;
        result
    }

    /// `stop` comes after the pipeline has drained: no caller awaits a publish then.
    fn is_flushed(&mut self) -> bool {
        true
    }
}

impl PublisherTask {
    async fn publish_until_stopped(
        &mut self,
        channel: &Channel,
        unblocked: impl Future<Output = Result<(), SessionError>> + Send,
        events: impl Stream<Item = Event> + Send,
    ) -> Result<(), SessionError> {
        tokio::pin!(unblocked, events);
        let (mut is_probed, probe_deadline) = (false, Instant::now() + OPERATION_TIMEOUT);
        let mut pending = PendingConfirms::new(&self.names);
        let unwritten = Arc::new(Semaphore::new(MAX_UNWRITTEN));
        loop {
            let deadline = pending.deadline();
            let has_room = self.hold.is_none() && pending.has_room();
            let awaits_probe = self.hold.is_some() && !is_probed && !self.is_blocked;
            tokio::select! {
                biased;
                resolved = pending.resolve() => resolved?,
                event = events.next() => self.handle_event(event, channel, &mut pending)?,
                probed = &mut unblocked, if !is_probed => {
                    probed?;
                    is_probed = true;
                    self.hold.take_if(|_| !self.is_blocked);
                }
                () = tokio::time::sleep_until(probe_deadline), if awaits_probe => {
                    return Err(SessionError::Timeout { operation: "tx.rollback", timeout: OPERATION_TIMEOUT });
                }
                () = sleep_until(deadline), if self.hold.is_none() => {
                    return Err(SessionError::Timeout { operation: "a publish", timeout: CONFIRM_TIMEOUT });
                }
                Some(first) = next_request(&mut self.requests, &unwritten), if has_room => {
                    let mut next = Some(first);
                    // All ready requests share one write: a turn of the loop costs more than a message.
                    while let Some((request, permit)) = next {
                        pending.push(|sequence| publish(channel, &self.names, request, sequence, permit));
                        let ready = || next_request(&mut self.requests, &unwritten).now_or_never().flatten();
                        next = pending.has_room().then(ready).flatten();
                    }
                }
                () = self.stop.cancelled(), if deadline.is_none() => {
                    return with_timeout("channel.close", channel.close(200, "done".into())).await;
                }
            }
        }
    }

    /// Closes the gate while the broker blocks the connection; confirms do not time out meanwhile.
    fn handle_event<F: PublishFuture>(
        &mut self,
        event: Option<Event>,
        channel: &Channel,
        pending: &mut PendingConfirms<F>,
    ) -> Result<(), SessionError> {
        match event {
            Some(Event::ConnectionBlocked(reason)) => {
                let problem = format!("the broker blocks publishing: {reason}");
                match &self.hold {
                    Some(hold) => hold.report(&problem),
                    None => self.hold = Some(self.gate.close(GateReason::Blocked, &problem)),
                }
                self.is_blocked = true;
            }
            Some(Event::ConnectionUnblocked) => {
                pending.restart_timeout();
                self.hold = None;
                self.is_blocked = false;
            }
            // The refusal of a probe, which closed the probe's channel only.
            Some(Event::Error(error)) if channel.status().connected() && channel_refusal(&error).is_some() => {}
            Some(Event::Error(error)) => return Err(error.into()),
            Some(_) => {}
            None => return Err(SessionError::ConnectionClosed),
        }
        Ok(())
    }
}

/// Waits until another publish may be written, then for a request.
async fn next_request(
    requests: &mut mpsc::UnboundedReceiver<PublishRequest>,
    unwritten: &Arc<Semaphore>,
) -> Option<(PublishRequest, OwnedSemaphorePermit)> {
    let permit = unwritten.clone().acquire_owned().await.ok()?;
    Some((requests.recv().await?, permit))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::properties::Properties;

    #[tokio::test]
    async fn next_request_without_permit_waits_for_a_write() {
        let (sender, mut requests) = mpsc::unbounded_channel();
        for _ in 0..2 {
            let target = Target::Reply("queue".to_owned());
            let message = Arc::new(Message { target, properties: Properties::default(), body: Bytes::new() });
            assert!(sender.send(PublishRequest { message, reply: oneshot::channel().0 }).is_ok());
        }
        let unwritten = Arc::new(Semaphore::new(1));
        let first = next_request(&mut requests, &unwritten).await;
        assert!(first.is_some());
        assert!(next_request(&mut requests, &unwritten).now_or_never().is_none(), "the only permit is taken");
        drop(first);
        assert!(next_request(&mut requests, &unwritten).await.is_some());
    }
}
