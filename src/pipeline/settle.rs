//! Tells what became of a command, waits until the broker has stored that, and only then acknowledges it.
//!
//! The only file that acknowledges. Once a command has an ending, only the publishing is tried again, never the POST.

use std::{future::Future, sync::Arc};

use bytes::Bytes;

use super::{
    Pipeline, Shared,
    attempt::{End, Parking},
    journey::Journey,
    place::Place,
    remember::Fact,
};
use crate::{
    domain::{
        command::{Command, CommandId},
        dead_letter::DeadLetter,
        decode::Malformed,
        event::{CommandResult, Event, Failure},
        journal::{RecordedOutcome, SendKey},
        message::{Message, Target},
        reason::Reason,
        retry,
    },
    gate::GateReason,
    ports::{Clock, Delivery, Outbox, Ports, PublishError, Random, Settler},
    telemetry::{
        GaugeGuard,
        events::{CommandDelayed, CommandFinished, CommandReceived, CommandRepeated},
    },
};

/// A command in hand. Boxed where it is handed on: it is large.
pub(super) struct Taken {
    pub(super) delivery: Delivery,
    pub(super) command: Command,
}

impl<P: Ports> Pipeline<P> {
    /// Works on a command in hand until it is settled or released.
    pub(super) async fn handle(self, mut taken: Box<Taken>, mut place: Place) {
        let Taken { delivery, command } = &mut *taken;
        let (in_hand, mut journey) = self.receive(delivery);
        // Boxed, for it is most of what a command needs, and over when it waits for the broker.
        let end = Box::pin(self.attempt(delivery, command, &mut journey, &mut place)).await;
        match end {
            End::Parked(parking) => {
                if Box::pin(self.settle_parked(delivery, command, &journey, parking)).await {
                    place.parked();
                } else {
                    place.released();
                }
            }
            // The next of its lane need not wait until this one is told.
            End::Told(ending) => {
                drop(place);
                self.settle(delivery, command, &journey, ending).await;
            }
            End::Known(ended, teller) => {
                drop(place);
                Box::pin(self.settle_known(delivery, command, &mut journey, ended)).await;
                drop(teller);
            }
            End::Released => {}
        }
        drop(in_hand);
    }

    /// The same for a message that is no command.
    pub(super) async fn bury_malformed(self, delivery: Delivery, malformed: Malformed) {
        let (in_hand, journey) = self.receive(&delivery);
        // The copy of a lost session is handed out again: its dead letter would be written twice.
        if self.shared.ports.settler().is_current(delivery.tag) {
            self.settle_malformed(&delivery, &journey, &malformed).await;
        }
        drop(in_hand);
    }

    fn receive(&self, delivery: &Delivery) -> (GaugeGuard, Journey) {
        let telemetry = &self.shared.telemetry;
        let journey = Journey::begin(delivery, self.shared.ports.clock().now());
        telemetry.record(CommandReceived { redelivered: delivery.redelivered, waited: journey.queued() });
        (telemetry.in_hand(), journey)
    }

    /// Settles a command that reached an ending. What is made of that is made at once: it would be kept as long as the future
    /// that is told of it.
    fn settle<'a>(
        &'a self,
        delivery: &'a mut Delivery,
        command: &'a mut Command,
        journey: &'a Journey,
        ending: CommandResult,
    ) -> impl Future<Output = ()> + Send + 'a {
        let (shared, send) = (&self.shared, journey.send(&command.id));
        let circumstances = journey.event_context(shared.ports.clock().now(), ending.reason());
        let (message, json, failure) = {
            let event = Event::of_command(command, ending, &circumstances);
            let json = event.json();
            (shared.message(delivery, journey, &event, json.clone()), json, event.failure)
        };
        // Before the journal knows of the end: a copy of the delivery must not write the letter, too.
        let teller = failure.as_ref().and_then(|_| shared.telling.begin(&send));
        // Before anybody is told: else a crash now could end it in another way than it was told.
        let ended = Fact::Ended(RecordedOutcome { event: json, letter_pending: failure.is_some() });
        if failure.is_none() {
            // Nobody asks for it again, and a broker that takes its time has all that are in hand wait for it.
            (delivery.body, command.text) = (Bytes::new(), None);
        }
        async move {
            shared.remember(&send, &ended).await;
            shared.tell(delivery, journey, Some(message), failure.as_ref(), Some(&send)).await;
            drop(teller);
            shared.ports.settler().ack(delivery.tag);
            shared.finished(Some(&command.id), journey, failure.as_ref());
        }
    }

    /// Settles a command whose end the journal knows: its event is told again, and its dead letter only if that is not
    /// known to be stored.
    async fn settle_known(
        &self,
        delivery: &mut Delivery,
        command: &mut Command,
        journey: &mut Journey,
        ended: RecordedOutcome,
    ) {
        let Some(event) = Event::repeated(&ended.event) else {
            let detail = "the journal knows of an end, and what it was cannot be read".into();
            let failure = Failure { reason: Reason::Uncertain, http_status: None, detail };
            return self.settle(delivery, command, journey, CommandResult::Failed(failure)).await;
        };
        journey.attempts = event.attempts;
        let (failure, send) = (event.failure.clone().filter(|_| ended.letter_pending), journey.send(&command.id));
        let message = self.shared.message(delivery, journey, &event, event.json());
        self.shared.tell(delivery, journey, Some(message), failure.as_ref(), Some(&send)).await;
        self.shared.ports.settler().ack(delivery.tag);
        self.shared.telemetry.record(CommandRepeated { command_id: &command.id, outcome: event.outcome });
    }

    /// Settles a command that goes on from a tier: its copy there is stored before this one is acknowledged. Tells whether
    /// it is.
    async fn settle_parked(
        &self,
        delivery: &Delivery,
        command: &Command,
        journey: &Journey,
        Parking { tier: place, not_before }: Parking,
    ) -> bool {
        let shared = &self.shared;
        let Some(tier) = shared.rules.tiers.get(place) else { return false };
        // The broker hands the command of a lost session out again; a copy in a tier would be its second life.
        if !shared.ports.settler().is_current(delivery.tag) {
            return false;
        }
        let key = delivery.source.rsplit('/').next().unwrap_or_default();
        let copy =
            journey.parked(not_before, delivery).to_message(tier, key, delivery.body.clone(), &delivery.properties);
        shared.store(Some(Arc::new(copy))).await;
        shared.ports.settler().ack(delivery.tag);
        let (command_id, attempts) = (&command.id, journey.attempts);
        shared.telemetry.record(CommandDelayed { command_id, tier: &tier.name, tier_index: place, attempts });
        true
    }

    /// Settles a message that is no command: a dead letter, and an event when an id could be read.
    async fn settle_malformed(&self, delivery: &Delivery, journey: &Journey, malformed: &Malformed) {
        let now = self.shared.ports.clock().now();
        let event = Event::of_malformed(malformed, &journey.event_context(now, Some(Reason::Malformed)));
        let failure = Failure { reason: Reason::Malformed, http_status: None, detail: malformed.detail() };
        let message = event.as_ref().map(|event| self.shared.message(delivery, journey, event, event.json()));
        self.shared.tell(delivery, journey, message, Some(&failure), None).await;
        self.shared.ports.settler().ack(delivery.tag);
        self.shared.finished(malformed.id.as_ref(), journey, Some(&failure));
    }
}

impl<P: Ports> Shared<P> {
    fn message(&self, delivery: &Delivery, journey: &Journey, event: &Event, json: Bytes) -> Arc<Message> {
        Arc::new(event.to_message(json, self.rules.event_format, journey.replay, &delivery.properties))
    }

    /// What must be true before an acknowledgement: everything that must be stored is stored, and that the dead letter is, is
    /// on record, if the journal knows of the `send`. A reply is a courtesy to somebody who may have stopped listening: it is
    /// tried once.
    async fn tell(
        &self,
        delivery: &Delivery,
        journey: &Journey,
        event: Option<Arc<Message>>,
        failure: Option<&Failure>,
        send: Option<&SendKey>,
    ) {
        let reply_to = delivery.properties.reply_to.as_ref().filter(|_| self.rules.replies);
        let reply = event.as_ref().zip(reply_to);
        let reply = reply.map(|(event, queue)| Arc::new(event.to_target(Target::Reply(queue.clone()))));
        let dead_letter = failure.map(|failure| Arc::new(dead_letter(delivery, journey, failure)));
        if reply.is_none() && dead_letter.is_none() {
            return self.store(event).await;
        }
        let letter = async {
            self.store(dead_letter).await;
            // At once: so that it is not written again when the delivery comes again before its event is stored.
            if let Some(send) = send.filter(|_| failure.is_some()) {
                self.remember(send, &Fact::LetterStored).await;
            }
        };
        let courtesy = async {
            if let Some(reply) = reply {
                let _ = self.ports.outbox().publish(reply).await;
            }
        };
        // Most commands succeed and want no reply: theirs is the small future.
        Box::pin(async { tokio::join!(self.store(event), letter, courtesy) }).await;
    }

    /// Publishes until the broker has stored the message. While it cannot, the gate is closed: an outcome that cannot be
    /// recorded must not be created.
    async fn store(&self, message: Option<Arc<Message>>) {
        let Some(message) = message else { return };
        if let Err(error) = self.ports.outbox().publish(message.clone()).await {
            // Boxed, for the sake of the many that never need it.
            Box::pin(self.store_at_last(message, error)).await;
        }
    }

    async fn store_at_last(&self, message: Arc<Message>, error: PublishError) {
        let gate = self.gate.close(GateReason::Blocked, &error.to_string());
        for failures in 1.. {
            tokio::time::sleep(retry::backoff(failures, self.ports.random().random_unit())).await;
            if self.ports.outbox().publish(message.clone()).await.is_ok() {
                break;
            }
        }
        drop(gate);
    }

    fn finished(&self, command_id: Option<&CommandId>, journey: &Journey, failure: Option<&Failure>) {
        let reason = failure.map(|failure| failure.reason);
        self.telemetry.record(CommandFinished {
            command_id,
            reason,
            detail: failure.map(|failure| failure.detail.as_str()),
            attempts: journey.attempts,
            age: journey.age(self.ports.clock().now()),
            possible_duplicate: journey.possible_duplicate(reason),
        });
    }
}

fn dead_letter(delivery: &Delivery, journey: &Journey, failure: &Failure) -> Message {
    let letter = DeadLetter {
        reason: failure.reason,
        http_status: failure.http_status,
        detail: failure.detail.clone(),
        attempts: journey.attempts,
        first_seen_ms: journey.first_seen.as_millisecond(),
        source: journey.source(delivery),
        replay: journey.replay,
    };
    letter.to_message(delivery.body.clone(), &delivery.properties)
}
