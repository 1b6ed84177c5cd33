//! `edna-courier topology`: prints, declares, verifies or exports the exchanges, queues and bindings.

mod findings;
mod tables;

use std::{fmt::Display, time::Duration};

use clap::{Args, Subcommand};
use lapin::Connection;

use self::findings::BrokerOperation;
use super::{Exit, broker_client::BrokerClient, output, runtime};
use crate::{
    amqp::topology::{Topology, TopologyNames},
    config::{BrokerSettings, Sources, TopologySettings},
};

/// For all nodes of the broker together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct TopologyArgs {
    #[command(subcommand)]
    command: TopologyCommand,
}

#[derive(Debug, Subcommand)]
enum TopologyCommand {
    /// Prints exchanges, queues with their arguments, and bindings. Does not connect.
    Show(OutputArgs),
    /// Declares missing exchanges and queues, and binds all queues. Deletes and changes nothing.
    ///
    /// Exits with 0 if everything exists afterwards as `verify` wants it; with 1 if something differs in what a guarantee
    /// rests on, or the broker refuses a declaration.
    Apply(OutputArgs),
    /// Reports which exchanges and queues exist, are missing or differ. Changes nothing.
    ///
    /// Exits with 1 if something is missing, has another type, or differs in an argument that a guarantee rests on: TTL,
    /// dead-letter target and strategy, overflow, alternate exchange. Policies are read only with `broker.management_url`.
    Verify(OutputArgs),
    /// Prints definitions for `rabbitmqctl import_definitions`: the topology, policies for delivery limits and lengths,
    /// and users with the permissions that they need. Does not connect.
    Export,
}

#[derive(Clone, Copy, Debug, Args)]
struct OutputArgs {
    /// Prints the result as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &TopologyArgs, sources: &Sources) -> Result<Exit, Exit> {
    let settings = TopologySettings::load(sources).map_err(|mistakes| Exit::Configuration.because(mistakes))?;
    let TopologySettings { broker, tiers, default_queue } = &settings;
    let topology = Topology::new(&TopologyNames::new(&broker.prefix), tiers, *default_queue);
    match args.command {
        TopologyCommand::Show(OutputArgs { json: true }) => output::print_json(&topology),
        TopologyCommand::Show(_) => output::print(&tables::format(&topology)),
        TopologyCommand::Export => {
            let vhost = broker.uris.first().map_or("/", |uri| uri.vhost.as_str());
            output::print(&topology.definitions(vhost));
        }
        TopologyCommand::Apply(args) => return on_broker(BrokerOperation::Apply, &topology, broker, args),
        TopologyCommand::Verify(args) => return on_broker(BrokerOperation::Verify, &topology, broker, args),
    }
    Ok(Exit::Success)
}

fn on_broker(
    operation: BrokerOperation,
    topology: &Topology,
    settings: &BrokerSettings,
    args: OutputArgs,
) -> Result<Exit, Exit> {
    let findings = runtime::block_on(async {
        let connection = connect(settings).await?;
        let findings = match operation {
            BrokerOperation::Apply => topology.apply(&connection).await,
            BrokerOperation::Verify => topology.verify(&connection).await,
        };
        // The result stands, whether or not the connection closes cleanly.
        drop(tokio::time::timeout(CLOSE_TIMEOUT, connection.close(200, "done".into())).await);
        let mut findings = findings.map_err(unreachable)?;
        if let Some(api) = settings.management_api().map_err(|error| Exit::Configuration.because(error))? {
            let judged = topology.judge_effective(&api, &mut findings).await;
            judged.map_err(|error| Exit::Unreachable.because(error))?;
        }
        Ok(findings)
    })?;
    findings::print(operation, &findings, args.json)
}

async fn connect(settings: &BrokerSettings) -> Result<Connection, Exit> {
    let client = BrokerClient::new(settings, "edna-courier topology");
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, client.connect()).await;
    let timed_out = || format!("no answer from the broker within {} s", CONNECT_TIMEOUT.as_secs());
    connecting.unwrap_or_else(|_| Err(timed_out())).map_err(unreachable)
}

fn unreachable(problem: impl Display) -> Exit {
    let remedy = "check broker.url, that RabbitMQ runs there, and that it accepts this user";
    Exit::Unreachable.because(format!("{problem}; {remedy}"))
}
