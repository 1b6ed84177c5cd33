//! The adapters behind the pipeline's ports.

use crate::{
    amqp::{AmqpSettler, Publisher},
    edna::ApiClient,
    journal::AnyJournal,
    ports::{Ports, Random, SystemClock},
};

/// Implements [`Ports`] with the broker, the API, the journal, and the clock and random numbers of the system.
pub(super) struct Adapters {
    pub(super) client: ApiClient,
    pub(super) publisher: Publisher,
    pub(super) settler: AmqpSettler,
    pub(super) journal: AnyJournal,
}

impl Ports for Adapters {
    type Sender = ApiClient;
    type Outbox = Publisher;
    type Settler = AmqpSettler;
    type Journal = AnyJournal;
    type Clock = SystemClock;
    type Random = SystemRandom;

    fn sender(&self) -> &ApiClient {
        &self.client
    }
    fn outbox(&self) -> &Publisher {
        &self.publisher
    }
    fn settler(&self) -> &AmqpSettler {
        &self.settler
    }
    fn journal(&self) -> &AnyJournal {
        &self.journal
    }
    fn clock(&self) -> &SystemClock {
        &SystemClock
    }
    fn random(&self) -> &SystemRandom {
        &SystemRandom
    }
}

#[derive(Clone, Copy)]
pub(super) struct SystemRandom;

impl Random for SystemRandom {
    fn random_unit(&self) -> f64 {
        fastrand::f64()
    }
}
