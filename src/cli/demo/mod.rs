//! `edna-courier demo`: sandbox, topology and daemon against a real broker; every command's end is checked.

mod account;
mod plan;
mod show;
mod traffic;

use std::{
    net::Ipv4Addr,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use clap::Args;
use tokio_util::sync::CancellationToken;

use self::{
    show::{Progress, Summary},
    traffic::{Backend, Books},
};
use super::{Exit, configured, output, run::Stop, runtime};
use crate::{
    amqp::{Broker, topology::Names},
    bootstrap::App,
    config::{Config, Sources},
    pipeline::Drained,
    sandbox::{self, Sandbox},
    telemetry::logging,
};

/// What the sandbox accepts in the demo.
const TOKEN: &str = "demo-token";
/// How long the sandbox thinks before it answers.
const LATENCY: Duration = Duration::from_millis(20);
/// After that long without all ends reached, the demo has failed: a bound for the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

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

pub(super) fn execute(arguments: &Arguments, sources: Sources) -> Exit {
    runtime().and_then(|runtime| runtime.block_on(demo(arguments, sources))).unwrap_or_else(|exit| exit)
}

async fn demo(arguments: &Arguments, sources: Sources) -> Result<Exit, Exit> {
    let options = sandbox::Options { token: Some(TOKEN.into()), latency: LATENCY, ..sandbox::Options::default() };
    let sandbox = Sandbox::start((Ipv4Addr::LOCALHOST, 0).into(), options).map_err(failed)?;
    let config = configured(&settings(sources, &sandbox))?;
    logging::init(&config.log.level, config.log.format).map_err(failed)?;
    let names = Names::new(&config.broker.prefix);
    let broker = Broker::new(config.broker.uris.clone(), config.broker.tls.clone());
    let connection = broker.connect("edna-courier demo").await.map_err(|problem| {
        output::problem(&format!("{problem}; start RabbitMQ there or set EDNA_COURIER__BROKER__URL"));
        Exit::Unreachable
    })?;
    let backend = Backend::new(connection, names);
    backend.declare().await.map_err(failed)?;
    let exit = with_daemon(arguments, config, &backend).await;
    backend.remove().await.map_err(failed)?;
    sandbox.stop().await.map_err(failed)?;
    exit
}

/// The broker's settings are the user's; the rest is the demo's own, its prefix above all: it shares its names with
/// nobody, so that everything can be removed at the end.
fn settings(sources: Sources, sandbox: &Sandbox) -> Sources {
    let wanted = |key: &str| {
        let key = key.to_uppercase();
        !key.starts_with("EDNA_COURIER__")
            || ["BROKER__", "LOG__", "ADMIN__"].iter().any(|part| key.starts_with(&format!("EDNA_COURIER__{part}")))
    };
    let mut environment = sources.environment;
    environment.retain(|key, _| wanted(key));
    environment.entry("EDNA_COURIER__ADMIN__LISTEN".to_owned()).or_insert_with(|| "127.0.0.1:0".to_owned());
    environment.entry("EDNA_COURIER__LOG__LEVEL".to_owned()).or_insert_with(|| "error".to_owned());
    let mut set = |key: &str, value: String| environment.insert(format!("EDNA_COURIER__{key}"), value);
    set("BROKER__PREFIX", format!("edna-demo-{:08x}", fastrand::u32(..)));
    set("BROKER__DECLARE", "false".to_owned());
    set("API__BASE_URL", format!("http://{}", sandbox.addr()));
    set("API__TOKEN", TOKEN.to_owned());
    Sources { file: None, environment }
}

async fn with_daemon(arguments: &Arguments, config: Config, backend: &Backend) -> Result<Exit, Exit> {
    let app = App::new(config).map_err(failed)?;
    let metrics = format!("http://{}/metrics", app.admin_address());
    let stop = CancellationToken::new();
    let running = app.run(stop.cancelled());
    let showing = async {
        let result = show(arguments, backend, &metrics).await;
        stop.cancel();
        result
    };
    let (drained, shown) = tokio::join!(running, showing);
    match drained.map_err(failed)? {
        Drained::Complete => shown,
        Drained::Unflushed | Drained::OutOfTime(_) | Drained::Panicked => {
            Err(failed("the daemon did not stop cleanly"))
        }
    }
}

async fn show(arguments: &Arguments, backend: &Backend, metrics: &str) -> Result<Exit, Exit> {
    let mut stop = Stop::listen().map_err(failed)?;
    let count = usize::try_from(arguments.count).unwrap_or(usize::MAX);
    let (books, started) = (Books::default(), Instant::now());
    output::note(&format!("sending {count} commands; metrics on {metrics}"));
    tokio::select! {
        reached = reach_the_end(backend, count, &books) => reached.map_err(failed)?,
        () = stop.asked() => output::note(&"interrupted"),
    }
    let right = tell(arguments, &books, started.elapsed(), metrics);
    if arguments.keep {
        stop.asked().await;
    }
    Ok(if right { Exit::Done } else { Exit::Failed })
}

/// Prints the result; whether it is as it must be.
fn tell(arguments: &Arguments, books: &Books, took: Duration, metrics: &str) -> bool {
    let account = books.lock().unwrap_or_else(PoisonError::into_inner);
    let count = usize::try_from(arguments.count).unwrap_or(usize::MAX);
    let summary = Summary { account: &account, count, took, metrics: told(metrics, arguments.keep) };
    if arguments.json {
        summary.print_json()
    } else {
        summary.print()
    }
    account.done() == count && account.wrong() == 0
}

fn told(metrics: &str, keep: bool) -> String {
    if keep {
        format!("metrics are on {metrics}; Ctrl-C ends the demo")
    } else {
        format!("metrics were on {metrics} (--keep stays up)")
    }
}

/// Sends everything and waits until all have reached their end, or patience has.
async fn reach_the_end(backend: &Backend, count: usize, books: &Books) -> Result<(), String> {
    let mut progress = Progress::new(count);
    let (mut looks, mut last) = (tokio::time::interval(LOOK_EVERY), (0, Instant::now()));
    let all_reached = async {
        loop {
            looks.tick().await;
            let done = books.lock().unwrap_or_else(PoisonError::into_inner).done();
            progress.at(done);
            if done != last.0 {
                last = (done, Instant::now());
            }
            if done == count || last.1.elapsed() > PATIENCE {
                return Ok(());
            }
        }
    };
    let sent_and_reached = async { tokio::try_join!(backend.send(count, books), all_reached) };
    let result = tokio::select! {
        result = sent_and_reached => result.map(|_| ()),
        ended = backend.listen(Arc::clone(books)) => ended,
    };
    progress.end();
    result
}

fn failed(problem: impl std::fmt::Display) -> Exit {
    output::problem(&problem);
    Exit::Failed
}
