//! Publishes until the broker has stored the message.

use std::sync::Arc;

use super::{
    context::PipelineContext,
    publish_turns::{FailedPublish, PublishTurn},
};
use crate::{
    domain::{command::CommandId, message::Message, retry},
    gate::{GateHold, GateReason},
    ports::{Journal, Outbox, Ports, PublishError, Random},
};

/// The message was given up, so that its delivery must not be acked: the daemon shuts down while the broker rejects it, or
/// the broker delivers the command again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unpublished;

impl<P: Ports> PipelineContext<P> {
    /// Publishes until the broker has confirmed the message. While it does not, the gate is closed: an attempt whose
    /// outcome cannot be published must not start.
    ///
    /// # Errors
    /// [`Unpublished`] during a shutdown only.
    pub(super) async fn publish(
        &self,
        message: Option<Arc<Message>>,
        command_id: Option<&CommandId>,
    ) -> Result<(), Unpublished> {
        let Some(message) = message else { return Ok(()) };
        self.publish_while(message, command_id, &|| true).await
    }

    /// [`Self::publish`] while `is_wanted`, which is asked before each further publish.
    ///
    /// # Errors
    /// [`Unpublished`] during a shutdown, or if the message is no longer wanted.
    pub(super) async fn publish_while(
        &self,
        message: Arc<Message>,
        command_id: Option<&CommandId>,
        is_wanted: &(impl Fn() -> bool + Sync),
    ) -> Result<(), Unpublished> {
        let mut error = None;
        if !self.publish_turns.is_blocked() {
            match self.ports.outbox().publish(message.clone()).await {
                Ok(()) => return Ok(()),
                Err(failure) => error = Some(failure),
            }
        }
        // Boxed: rarely needed, and it would enlarge the future of every task.
        Box::pin(self.publish_in_turn(message, command_id, error, is_wanted)).await
    }

    /// `error` is the result of the first publish, if there was one.
    async fn publish_in_turn(
        &self,
        message: Arc<Message>,
        command_id: Option<&CommandId>,
        error: Option<PublishError>,
        is_wanted: &(impl Fn() -> bool + Sync),
    ) -> Result<(), Unpublished> {
        let failed = |error| FailedPublish {
            command_id: command_id.cloned(),
            destination: self.ports.outbox().destination(&message.target),
            error,
        };
        let _blocked = self.telemetry.blocked_publish(&message.target);
        let place = self.publish_turns.enter(error);
        let hold = match error {
            // The lost connection is logged by itself.
            Some(PublishError::Unconfirmed) => {
                self.gate.close(GateReason::Blocked, &failed(PublishError::Unconfirmed).problem())
            }
            Some(_) | None => self.gate.close_unreported(GateReason::Blocked),
        };
        error.map(failed).inspect(|failed| report(&place, &hold, failed));
        loop {
            let turn = place.take().await;
            self.await_probe(&place).await?;
            if !is_wanted() {
                return Err(Unpublished);
            }
            let Err(error) = self.ports.outbox().publish(message.clone()).await else {
                place.record_confirm(command_id);
                return Ok(());
            };
            place.record_failure(error);
            report(&place, &hold, &failed(error));
            drop(turn);
        }
    }

    /// Waits until the publish whose turn it is may probe. A shutdown ends the wait and the probes: the journal holds the
    /// outcomes, which are published after the next start.
    async fn await_probe(&self, place: &PublishTurn<'_>) -> Result<(), Unpublished> {
        let wait = retry::publish_probe_wait(place.failures(), self.ports.random().random_unit());
        let gives_up = place.is_rejected() && self.ports.journal().is_enabled();
        tokio::select! {
            biased;
            () = self.drain.cancelled(), if gives_up => Err(Unpublished),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }
}

/// Closes the gate with the failed publish as the problem, unless operators know it.
fn report(place: &PublishTurn<'_>, hold: &GateHold, failed: &FailedPublish) {
    if failed.error != PublishError::Unconfirmed && place.must_report(failed) {
        hold.report(&failed.problem());
    }
}
