//! The programs that are compared.

use super::{
    args::{BARE, BenchArgs, this_executable},
    bare,
    process::Process,
    stub_api::StubApi,
    support::{daemon::DaemonBuilder, queues::Queues},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// The bare loop, built with the bench profile: cargo's default optimizations, no LTO.
    Bare,
    /// The bare loop, built with the release profile, as the daemon is: LTO, one codegen unit.
    BareLto,
    Daemon,
}

impl Program {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::BareLto => "bare-lto",
            Self::Daemon => "daemon",
        }
    }

    /// The programs in the order of this round. The order is reversed in every other round, so that a drift of the machine
    /// favours none.
    pub(crate) fn in_turn(round: usize, args: &BenchArgs) -> Vec<Self> {
        let bare_lto = args.bare_lto.is_some().then_some(Self::BareLto);
        let mut programs: Vec<_> = [Some(Self::Bare), bare_lto, Some(Self::Daemon)].into_iter().flatten().collect();
        if !round.is_multiple_of(2) {
            programs.reverse();
        }
        programs
    }

    /// Starts the program with these queues, this API and this limit of concurrent attempts.
    pub(crate) fn start(self, args: &BenchArgs, queues: &Queues, api: &StubApi, in_flight: u16) -> Process {
        let bare = |builder: DaemonBuilder| {
            builder
                .env(bare::AMQP_URL, queues.broker().url())
                .env(bare::PREFIX, queues.prefix())
                .env(bare::API_URL, api.url())
                .env(bare::IN_FLIGHT, &in_flight.to_string())
        };
        let builder = match self {
            Self::Bare => bare(this_executable(BARE)),
            Self::BareLto => {
                let path = args.bare_lto.as_ref().expect("given with this program").to_str().expect("a path in UTF-8");
                bare(DaemonBuilder::for_program(path, &[]))
            }
            Self::Daemon => args.daemon("run", in_flight).queues(queues).set("api.base_url", api.url()),
        };
        Process::start(&builder)
    }
}
