//! `edna-courier demo`: runs sandbox and daemon against a real broker, and checks the outcome of every command.

mod backend;
mod cleanup;
mod plan;
mod post_check;
mod progress;
mod session;
mod settings;
mod summary;
mod tracker;
mod wait;

use std::{net::Ipv4Addr, time::Duration};

use clap::Args;

use self::{backend::Backend, session::DemoSession};
use super::{Exit, broker_client::BrokerClient, exit::failed, runtime, signals::StopSignals};
use crate::{
    amqp::topology::TopologyNames,
    config::Sources,
    sandbox::{self, Sandbox},
    telemetry::logging,
};

/// How long the sandbox delays each answer.
const API_LATENCY: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Number of commands to send.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// Keeps the daemon running after the last command, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Prints the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Every failure is printed where it occurs; the first one determines the exit code. Everything that was started or
/// declared is removed in any case.
pub(super) fn execute(args: &DemoArgs, sources: &Sources) -> Result<Exit, Exit> {
    runtime::block_on(demo(args, sources)).map(|()| Exit::Success)
}

async fn demo(args: &DemoArgs, sources: &Sources) -> Result<(), Exit> {
    // From here on a signal does not kill the process before everything is removed.
    let mut signals = StopSignals::listen().map_err(failed)?;
    let count = usize::try_from(args.count).unwrap_or(usize::MAX);
    let options = sandbox::Options {
        token: Some(settings::TOKEN.into()),
        latency: API_LATENCY,
        keep: post_check::max_posts(count),
        ..sandbox::Options::default()
    };
    let sandbox = Sandbox::start((Ipv4Addr::LOCALHOST, 0).into(), options).map_err(failed)?;
    let result = with_broker(args, count, sources, &sandbox, &mut signals).await;
    let stopped = sandbox.stop().await.map_err(failed);
    result.and(stopped)
}

async fn with_broker(
    args: &DemoArgs,
    count: usize,
    sources: &Sources,
    sandbox: &Sandbox,
    signals: &mut StopSignals,
) -> Result<(), Exit> {
    let config = settings::load(sources, sandbox.addr()).map_err(|mistakes| Exit::Configuration.because(mistakes))?;
    let log = logging::init(&config.log.level, config.log.format, config.log.no_color).map_err(failed)?;
    let (client, prefix) = (BrokerClient::new(&config.broker, "edna-courier demo"), config.broker.prefix.clone());
    let connection = tokio::select! {
        connected = client.connect() => connected.map_err(unreachable)?,
        () = signals.recv() => return Err(failed(session::INTERRUPTED)),
    };
    let backend = Backend::new(connection, TopologyNames::new(&prefix));
    let session = DemoSession { count, keep: args.keep, json: args.json, sandbox, backend: &backend, log: &log };
    let result = match backend.declare().await.map_err(failed) {
        Ok(()) => session.run(config, signals).await,
        Err(exit) => Err(exit),
    };
    // Closed before the removal, so that no late publish or declaration follows it.
    backend.close().await;
    let removed = cleanup::remove(&client, &prefix).await.map_err(failed);
    result.and(removed)
}

fn unreachable(problem: String) -> Exit {
    Exit::Unreachable.because(format!("{problem}; start RabbitMQ there or set EDNA_COURIER__BROKER__URL"))
}
