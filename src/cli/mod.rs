//! The command line: subcommands, `--help` texts and exit codes.

mod broker_client;
mod check;
mod control;
mod demo;
mod exit;
mod journal;
mod output;
mod run;
mod runtime;
mod sandbox;
mod signals;
mod topology;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use self::control::ControlAction;
pub use self::exit::Exit;
use crate::config::Sources;

/// Consumes send commands from RabbitMQ, posts them to edna Chat Center, and publishes the outcome of each.
#[derive(Debug, Parser)]
#[command(name = "edna-courier", version, after_help = AFTER_HELP)]
struct Cli {
    /// TOML file with the settings [default: the file in EDNA_COURIER_CONFIG, else edna-courier.toml if it exists].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: CliCommand,
}

const AFTER_HELP: &str = "Every setting can also be set by an environment variable: EDNA_COURIER__SECTION__KEY.\n\n\
    Exit codes: 0 success, 1 failure, 64 wrong command line, 69 broker, API, Redis or daemon unreachable, \
    70 drain timed out, 78 configuration.";

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Runs the daemon until SIGTERM or SIGINT, then finishes the commands in hand. SIGHUP reloads the rates.
    Run,
    /// Sends sample commands through RabbitMQ and a daemon to the sandbox, checks every outcome, and cleans up.
    Demo(demo::DemoArgs),
    /// Runs a stand-in for the API, which fails when a command's text requests it.
    Sandbox(sandbox::SandboxArgs),
    /// Checks the configuration and prints every mistake. Connects to nothing.
    Check(check::CheckArgs),
    /// Reads the journal, also while a daemon uses it. Needs only [journal] and broker.prefix.
    Journal(journal::JournalArgs),
    /// Pauses a running daemon: commands stay in the queue. Needs admin.token.
    Pause(control::ControlArgs),
    /// Resumes a paused daemon. Needs admin.token.
    Resume(control::ControlArgs),
    /// Prints the state of a running daemon.
    Status(control::ControlArgs),
    /// Prints, declares, verifies or exports the exchanges, queues and bindings. Needs no settings of the section api.
    Topology(topology::TopologyArgs),
}

/// Parses the command line, runs the subcommand, and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let exit = match Cli::try_parse() {
        Ok(cli) => cli.execute(),
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Success };
            // Printing fails if the stream is closed; there is no other place to report that.
            let _ = error.print();
            exit
        }
    };
    exit.into()
}

impl Cli {
    fn execute(self) -> Exit {
        // One provider for all TLS libraries. Fails only if one is installed already, which is fine.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let sources = Sources::from_process(self.config);
        let result = match self.command {
            CliCommand::Run => run::execute(&sources),
            CliCommand::Demo(args) => demo::execute(&args, &sources),
            CliCommand::Sandbox(args) => sandbox::execute(&args),
            CliCommand::Check(args) => check::execute(&args, &sources),
            CliCommand::Journal(args) => journal::execute(&args, &sources),
            CliCommand::Pause(args) => control::execute(ControlAction::Pause, &args, &sources),
            CliCommand::Resume(args) => control::execute(ControlAction::Resume, &args, &sources),
            CliCommand::Status(args) => control::execute(ControlAction::Status, &args, &sources),
            CliCommand::Topology(args) => topology::execute(&args, &sources),
        };
        result.unwrap_or_else(|exit| exit)
    }
}
