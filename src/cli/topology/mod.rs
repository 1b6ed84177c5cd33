//! `edna-courier topology`: the exchanges, queues and bindings, as a table and on the broker.

mod show;
mod tell;

use std::time::Duration;

use clap::{Args, Subcommand};
use lapin::Connection;

use super::{Exit, link::Link, misconfigured, output, runtime};
use crate::{
    amqp::topology::{Names, Topology},
    config::{self, Sources},
};

/// For all of the broker's addresses together.
const CONNECTING: Duration = Duration::from_secs(15);
/// For a polite end.
const CLOSING: Duration = Duration::from_secs(5);

/// What `topology` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints exchanges, queues with their arguments, and bindings, as `apply` declares them. Asks no broker.
    Show(Format),
    /// Declares what is missing and binds everything; never deletes, and leaves as it is what is there already.
    ///
    /// Ends with 0 if everything is there then, also with other arguments (policies may set them); with 1 if something is
    /// of another type, which no policy can mend, or the broker refuses.
    Apply(Format),
    /// Tells what is there, what is missing and what differs; changes nothing.
    ///
    /// Ends with 0 if everything is there, also with other arguments (policies may set them); with 1 if something is
    /// missing or of another type.
    Verify(Format),
    /// Prints definitions for `rabbitmqctl import_definitions`: policies instead of arguments, and users with the rights
    /// that they need. Asks no broker.
    Export,
}

#[derive(Clone, Copy, Debug, Args)]
struct Format {
    /// Tells it as JSON.
    #[arg(long)]
    json: bool,
}

/// What is done on the broker.
#[derive(Clone, Copy)]
enum Work {
    Apply,
    Verify,
}

pub(super) fn execute(arguments: &Arguments, sources: &Sources) -> Exit {
    let settings = match config::Topology::load(sources) {
        Ok(settings) => settings,
        Err(mistakes) => return misconfigured(&mistakes),
    };
    let config::Topology { broker, tiers, default_queue } = &settings;
    let topology = Topology::new(&Names::new(&broker.prefix), tiers, *default_queue);
    match arguments.command {
        Command::Show(Format { json: true }) => output::json(&topology),
        Command::Show(_) => output::line(&show::tables(&topology)),
        Command::Export => {
            let vhost = broker.uris.first().map_or("/", |uri| uri.vhost.as_str());
            output::line(&topology.definitions(vhost));
        }
        Command::Apply(format) => return on_broker(Work::Apply, &topology, broker, format),
        Command::Verify(format) => return on_broker(Work::Verify, &topology, broker, format),
    }
    Exit::Done
}

fn on_broker(work: Work, topology: &Topology, settings: &config::Broker, format: Format) -> Exit {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let worked = runtime.block_on(async {
        let connection = connected(settings).await?;
        let worked = match work {
            Work::Apply => topology.apply(&connection).await,
            Work::Verify => topology.verify(&connection).await,
        };
        // Who is gone already need not be told.
        drop(tokio::time::timeout(CLOSING, connection.close(200, "done".into())).await);
        worked.map_err(unreachable)
    });
    // What still hangs in a look-up of names or in a socket is not waited for.
    runtime.shutdown_background();
    worked.map_or_else(|exit| exit, |findings| tell::findings(work, &findings, format.json))
}

async fn connected(settings: &config::Broker) -> Result<Connection, Exit> {
    let link = Link::new(settings, "edna-courier topology");
    let connecting = tokio::time::timeout(CONNECTING, link.connect()).await;
    let late = || format!("no answer from the broker within {} s", CONNECTING.as_secs());
    connecting.unwrap_or_else(|_| Err(late())).map_err(unreachable)
}

fn unreachable(problem: impl std::fmt::Display) -> Exit {
    output::problem(&format!("{problem}; check broker.url, and that RabbitMQ runs there and lets this user in"));
    Exit::Unreachable
}
