//! Publishes a delivery's outcome, awaits the confirms and then acks the delivery.
//!
//! The only file that acks. Once a command has an outcome, only the publish is retried, never the POST.

use std::{future::Future, sync::Arc};

use bytes::Bytes;

use super::{
    command_in_hand::CommandInHand, context::PipelineContext, delivery_state::DeliveryState,
    journal_update::JournalUpdate, publish::Unpublished, resolution::TierDelay,
};
use crate::{
    domain::{
        command::CommandId,
        decode::Malformed,
        event::{CommandResult, Event, Failure},
        journal::{RecordedOutcome, SendKey},
        message::{Message, Target},
        reason::Reason,
    },
    ports::{Delivery, Journal, Outbox, Ports, Settler},
    telemetry::events::{CommandDelayed, CommandFinished, CommandRepeated},
};

impl<P: Ports> PipelineContext<P> {
    /// Settles a command that reached its outcome.
    ///
    /// Not an `async fn`: the message is built at once, so that the future does not hold the result as well.
    pub(super) fn settle_finished<'a>(
        &'a self,
        in_hand: &'a mut CommandInHand,
        result: CommandResult,
    ) -> impl Future<Output = ()> + Send + 'a {
        let send_key = in_hand.send_key();
        let event_context = in_hand.state.event_context(self.now(), result.reason());
        let event = Event::of_command(&in_hand.command, result, &event_context);
        let json = event.to_json();
        let message = self.event_message(&in_hand.delivery, &in_hand.state, &event, json.clone());
        let failure = event.failure;
        // Before the journal has the outcome: a redelivered copy that finds it must not publish it, too.
        let claim = self.outcome_claims.try_claim(in_hand.identity());
        let outcome = RecordedOutcome { event: json, letter_pending: failure.is_some(), published: false };
        let update = JournalUpdate::Outcome(outcome);
        if failure.is_none() {
            // Not needed again, and many commands may wait for a slow broker.
            (in_hand.delivery.body, in_hand.command.text) = (Bytes::new(), None);
        }
        async move {
            let CommandInHand { delivery, command, state, .. } = &*in_hand;
            // Before the publish: after a crash in between, the command must not reach another outcome.
            self.record(&send_key, &update).await;
            let outcome = (Some(message), failure.as_ref());
            let published = self.publish_outcome(delivery, state, outcome, Some(&command.id), Some(&send_key)).await;
            drop(claim);
            if published.is_err() {
                return;
            }
            self.ports.settler().ack(delivery.tag);
            let reason = failure.as_ref().map(|failure| failure.reason);
            self.record_finished(Some(&command.id), state, failure.as_ref(), state.possible_duplicate(reason));
        }
    }

    /// Settles a command whose outcome the journal holds: publishes its event, with `repeated: true` if the broker has
    /// confirmed it before, and its dead letter if that is not known to be stored.
    pub(super) async fn settle_already_finished(&self, in_hand: &mut CommandInHand, outcome: RecordedOutcome) {
        let Some(event) = Event::from_recorded(&outcome.event, outcome.published) else {
            let detail = "the journal holds an outcome that cannot be read".into();
            let failure = Failure { reason: Reason::Uncertain, http_status: None, detail };
            return self.settle_finished(in_hand, CommandResult::Failed(failure)).await;
        };
        in_hand.state.attempts = event.attempts;
        let send_key = in_hand.send_key();
        let CommandInHand { delivery, command, state, .. } = &*in_hand;
        let failure = event.failure.clone().filter(|_| outcome.letter_pending);
        let message = self.event_message(delivery, state, &event, event.to_json());
        let to_publish = (Some(message), failure.as_ref());
        if self.publish_outcome(delivery, state, to_publish, Some(&command.id), Some(&send_key)).await.is_err() {
            return;
        }
        self.ports.settler().ack(delivery.tag);
        if outcome.is_unpublished() {
            // The daemon that reached the outcome stopped before it could count it.
            self.record_finished(Some(&command.id), state, event.failure.as_ref(), event.possible_duplicate);
        } else {
            self.telemetry.record(CommandRepeated { command_id: &command.id, outcome: event.outcome });
        }
    }

    /// Settles a command that goes to a tier: its copy is stored there before the delivery is acked. Returns whether that
    /// happened; a lost session's command is left to the broker, which delivers it again.
    pub(super) async fn settle_delayed(&self, in_hand: &CommandInHand, delay: TierDelay) -> bool {
        let CommandInHand { delivery, command, state, .. } = in_hand;
        let Some(tier) = self.settings.tiers.get(delay.tier) else { return false };
        let is_current = || self.ports.settler().is_current(delivery.tag);
        if !is_current() {
            return false;
        }
        self.prepare_copy(in_hand).await;
        let key = delivery.source.rsplit('/').next().unwrap_or_default();
        let copy = state.delayed_command(delay.not_before, delivery);
        let copy = copy.to_message(tier, key, delivery.body.clone(), &delivery.properties);
        if self.publish_while(Arc::new(copy), Some(&command.id), &is_current).await.is_err() {
            return false;
        }
        self.ports.settler().ack(delivery.tag);
        let (command_id, attempts) = (&command.id, state.attempts);
        self.telemetry.record(CommandDelayed { command_id, tier: &tier.name, tier_index: delay.tier, attempts });
        true
    }

    /// Keeps what this process knows of a redelivered command, whose copy counts as redelivered, too.
    async fn prepare_copy(&self, in_hand: &CommandInHand) {
        if let Some(identity) = in_hand.lasting_identity().filter(|_| in_hand.delivery.redelivered) {
            self.record_unposted(in_hand).await;
            self.doubt_tracker.delay(identity);
        }
    }

    /// Settles a malformed message: with a dead letter, and with an event if its command id could be read.
    pub(super) async fn settle_malformed(&self, delivery: &Delivery, state: &DeliveryState, malformed: &Malformed) {
        let event = Event::of_malformed(malformed, &state.event_context(self.now(), Some(Reason::Malformed)));
        let failure = Failure { reason: Reason::Malformed, http_status: None, detail: malformed.detail() };
        let message = event.as_ref().map(|event| self.event_message(delivery, state, event, event.to_json()));
        let outcome = (message, Some(&failure));
        if self.publish_outcome(delivery, state, outcome, malformed.id.as_ref(), None).await.is_err() {
            return;
        }
        self.ports.settler().ack(delivery.tag);
        self.record_finished(malformed.id.as_ref(), state, Some(&failure), false);
    }

    fn event_message(&self, delivery: &Delivery, state: &DeliveryState, event: &Event, json: Bytes) -> Arc<Message> {
        Arc::new(event.to_message(json, self.settings.event_format, state.replay, &delivery.properties))
    }

    /// Returns once the event and the dead letter are stored and the journal has recorded the letter (if the send has a
    /// record); only then may the delivery be acked. A reply is published once: its consumer may be gone.
    ///
    /// # Errors
    /// A shutdown began while the broker rejects one of them: the delivery stays with the broker.
    async fn publish_outcome(
        &self,
        delivery: &Delivery,
        state: &DeliveryState,
        (event, failure): (Option<Arc<Message>>, Option<&Failure>),
        command_id: Option<&CommandId>,
        send_key: Option<&SendKey>,
    ) -> Result<(), Unpublished> {
        let reply_to = delivery.properties.reply_to.as_ref();
        let reply_to = reply_to.filter(|queue| self.settings.replies && !queue.is_empty());
        let reply = event.as_ref().zip(reply_to);
        let reply = reply.map(|(event, queue)| Arc::new(event.to_target(Target::Reply(queue.clone()))));
        let letter = failure.map(|failure| Arc::new(state.dead_letter(failure, delivery)));
        if reply.is_none() && letter.is_none() {
            return self.publish_event(event, command_id, send_key).await;
        }
        let letter = async {
            self.publish(letter, command_id).await?;
            // At once: a delivery that returns before its event is stored must not publish the letter again.
            if let Some(send_key) = send_key.filter(|_| failure.is_some()) {
                self.record(send_key, &JournalUpdate::LetterStored).await;
            }
            Ok(())
        };
        let reply = async {
            if let Some(reply) = reply {
                let _ = self.ports.outbox().publish(reply).await;
            }
        };
        // Boxed: most commands succeed without a reply, and keep a small future.
        let event = self.publish_event(event, command_id, send_key);
        let published = Box::pin(async { tokio::join!(event, letter, reply) }).await;
        published.0.and(published.1)
    }

    /// Returns once the event is stored. If a crash loses the journal's record of the confirm, the event is published again
    /// with `repeated: false`.
    async fn publish_event(
        &self,
        event: Option<Arc<Message>>,
        command_id: Option<&CommandId>,
        send_key: Option<&SendKey>,
    ) -> Result<(), Unpublished> {
        self.publish(event, command_id).await?;
        if let Some(send_key) = send_key {
            // If it fails, the same as after a crash.
            let _ = self.ports.journal().record_published(send_key).await;
        }
        Ok(())
    }

    fn record_finished(
        &self,
        command_id: Option<&CommandId>,
        state: &DeliveryState,
        failure: Option<&Failure>,
        possible_duplicate: bool,
    ) {
        let reason = failure.map(|failure| failure.reason);
        self.telemetry.record(CommandFinished {
            command_id,
            reason,
            detail: failure.map(|failure| failure.detail.as_str()),
            attempts: state.attempts,
            age: state.age(self.now()),
            possible_duplicate,
        });
    }
}
