//! `edna-courier demo`: sandbox, topology and daemon against a real broker; every command's end is checked.

mod account;
mod cleanup;
mod plan;
mod posts;
mod reach;
mod settings;
mod show;
mod traffic;
mod watch;

use std::{net::Ipv4Addr, time::Duration};

use clap::Args;

use self::{traffic::Backend, watch::Scene};
use super::{Exit, link::Link, output, run::Stop, runtime};
use crate::{
    amqp::topology::Names,
    config::{Config, Sources},
    sandbox::{self, Sandbox},
    telemetry::logging,
};

/// What the sandbox accepts in the demo.
const TOKEN: &str = "demo-token";
/// How long the sandbox thinks before it answers.
const LATENCY: Duration = Duration::from_millis(20);

/// What `demo` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How many commands to send.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// Stays up after the last command, until Ctrl-C, to look around.
    #[arg(long)]
    keep: bool,
    /// Tells the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn count(&self) -> usize {
        usize::try_from(self.count).unwrap_or(usize::MAX)
    }
}

pub(super) fn execute(arguments: &Arguments, sources: Sources) -> Exit {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let played = runtime.block_on(demo(arguments, &sources));
    // What still hangs in a look-up of names or in a socket is not waited for.
    runtime.shutdown_background();
    played.map_or_else(|exit| exit, |()| Exit::Done)
}

/// Each problem is told where it occurs; the first decides how the demo ends. Whatever happens, all is taken down again.
async fn demo(arguments: &Arguments, sources: &Sources) -> Result<(), Exit> {
    // From here on a signal can't end us before everything is removed.
    let mut stop = Stop::listen().map_err(failed)?;
    let options = sandbox::Options {
        token: Some(TOKEN.into()),
        latency: LATENCY,
        keep: posts::at_most(arguments.count()),
        ..sandbox::Options::default()
    };
    let sandbox = Sandbox::start((Ipv4Addr::LOCALHOST, 0).into(), options).map_err(failed)?;
    let played = on_broker(arguments, sources, &sandbox, &mut stop).await;
    let stopped = sandbox.stop().await.map_err(failed);
    played.and(stopped)
}

async fn on_broker(arguments: &Arguments, sources: &Sources, sandbox: &Sandbox, stop: &mut Stop) -> Result<(), Exit> {
    let config = settings::load(sources, sandbox.addr())?;
    logging::init(&config.log.level, config.log.format).map_err(failed)?;
    let (link, prefix) = (Link::new(&config.broker, "edna-courier demo"), config.broker.prefix.clone());
    let connection = tokio::select! {
        connected = link.connect() => connected.map_err(unreachable)?,
        () = stop.asked() => return Err(failed(watch::INTERRUPTED)),
    };
    let backend = Backend::new(connection, Names::new(&prefix));
    let played = play(&Scene { arguments, sandbox, backend: &backend }, config, stop).await;
    // Before the removal: what is still on its way on this connection must not come after it.
    backend.close().await;
    let removed = cleanup::remove(&link, &prefix).await.map_err(failed);
    played.and(removed)
}

async fn play(scene: &Scene<'_>, config: Config, stop: &mut Stop) -> Result<(), Exit> {
    scene.backend.declare().await.map_err(failed)?;
    watch::with_daemon(scene, config, stop).await
}

fn unreachable(problem: String) -> Exit {
    output::problem(&format!("{problem}; start RabbitMQ there or set EDNA_COURIER__BROKER__URL"));
    Exit::Unreachable
}

fn failed(problem: impl std::fmt::Display) -> Exit {
    output::problem(&problem);
    Exit::Failed
}
