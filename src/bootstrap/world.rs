//! The real adapters behind the pipeline's ports.

use jiff::Timestamp;

use crate::{
    amqp::{Acks, Publisher},
    edna::ApiClient,
    journal::Journal,
    ports::{Clock, Ports, Random},
};

/// All of them.
pub(super) struct World {
    pub(super) client: ApiClient,
    pub(super) publisher: Publisher,
    pub(super) acks: Acks,
    pub(super) journal: Journal,
}

impl Ports for World {
    type Sender = ApiClient;
    type Outbox = Publisher;
    type Settler = Acks;
    type Journal = Journal;
    type Clock = System;
    type Random = System;

    fn sender(&self) -> &ApiClient {
        &self.client
    }
    fn outbox(&self) -> &Publisher {
        &self.publisher
    }
    fn settler(&self) -> &Acks {
        &self.acks
    }
    fn journal(&self) -> &Journal {
        &self.journal
    }
    fn clock(&self) -> &System {
        &System
    }
    fn random(&self) -> &System {
        &System
    }
}

/// The system's clock and randomness.
#[derive(Clone, Copy)]
pub(super) struct System;

impl Clock for System {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

impl Random for System {
    fn random_unit(&self) -> f64 {
        fastrand::f64()
    }
}
