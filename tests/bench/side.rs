//! The two that are compared.

use super::{
    BARE, bare,
    process::Process,
    settings::{Settings, own},
    stand_in::StandIn,
    support::queues::Queues,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Bare,
    Daemon,
}

impl Side {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Daemon => "daemon",
        }
    }

    /// Who goes first changes from pair to pair, so that a drift of the machine favours nobody.
    pub(crate) const fn in_turn(pair: usize) -> [Self; 2] {
        if pair.is_multiple_of(2) { [Self::Bare, Self::Daemon] } else { [Self::Daemon, Self::Bare] }
    }

    /// Starts it between these, with so many attempts at once.
    pub(crate) fn start(self, settings: &Settings, queues: &Queues, api: &StandIn, in_flight: u16) -> Process {
        let setup = match self {
            Self::Bare => own(BARE)
                .env(bare::AMQP_URL, queues.broker().url())
                .env(bare::PREFIX, queues.prefix())
                .env(bare::API_URL, api.url())
                .env(bare::IN_FLIGHT, &in_flight.to_string()),
            Self::Daemon => settings.daemon("run", in_flight).on(queues).set("api.base_url", api.url()),
        };
        Process::start(&setup)
    }
}
