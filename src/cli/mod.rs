//! The commands of the binary, and their exit codes.

mod check;
mod control;
mod demo;
mod exit;
mod journal;
mod link;
mod output;
mod run;
mod sandbox;
mod topology;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use self::control::Question;
pub use self::exit::Exit;
use crate::config::{Config, Mistakes, Sources};

/// Takes send commands from RabbitMQ, posts them to edna Chat Center and publishes what became of each.
#[derive(Debug, Parser)]
#[command(name = "edna-courier", version, after_help = EXIT_CODES)]
struct Cli {
    /// The TOML file with the settings; else EDNA_COURIER_CONFIG, else edna-courier.toml if it is there.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Every setting can also be an environment variable, EDNA_COURIER__SECTION__KEY.\n\n\
    Exit codes: 0 done, 1 failed, 64 usage, 69 broker or API unreachable, 70 drain ran out of time, 78 configuration.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the daemon until SIGTERM or SIGINT; then finishes what is in hand.
    Run,
    /// Shows the whole thing at work against a broker, with the sandbox as the API, and cleans up after itself.
    Demo(demo::Arguments),
    /// Runs a stand-in for the API, with scripted failures.
    Sandbox(sandbox::Arguments),
    /// Checks the configuration and tells every mistake at once.
    Check(check::Arguments),
    /// Looks into the journal, also while a daemon writes in it; needs no settings of the API.
    Journal(journal::Arguments),
    /// Pauses a running daemon: commands stay in the queue. Needs admin.token, as the daemon has it.
    Pause(control::Arguments),
    /// Lets a paused daemon go on.
    Resume(control::Arguments),
    /// Shows what a running daemon is doing.
    Status(control::Arguments),
    /// Shows, declares, verifies or exports the exchanges, queues and bindings; needs no settings of the API.
    Topology(topology::Arguments),
}

/// Parses the arguments, runs the command, maps its end to an exit code.
#[must_use]
pub fn main() -> ExitCode {
    let exit = match Cli::try_parse() {
        Ok(cli) => cli.execute(),
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            // Nowhere left to complain to when the terminal is gone.
            let _ = error.print();
            exit
        }
    };
    exit.into()
}

impl Cli {
    fn execute(self) -> Exit {
        // One provider for every library that speaks TLS. It is only there already when somebody embeds us.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let sources = Sources::of_process(self.config);
        match self.command {
            Command::Run => run::execute(&sources),
            Command::Demo(arguments) => demo::execute(&arguments, sources),
            Command::Sandbox(arguments) => sandbox::execute(&arguments),
            Command::Check(arguments) => check::execute(&arguments, &sources),
            Command::Journal(arguments) => journal::execute(&arguments, &sources),
            Command::Pause(arguments) => control::execute(Question::Pause, &arguments, &sources),
            Command::Resume(arguments) => control::execute(Question::Resume, &arguments, &sources),
            Command::Status(arguments) => control::execute(Question::Status, &arguments, &sources),
            Command::Topology(arguments) => topology::execute(&arguments, &sources),
        }
    }
}

/// The configuration, or every mistake in it on standard error.
fn configured(sources: &Sources) -> Result<Config, Exit> {
    Config::load(sources).map_err(|mistakes| misconfigured(&mistakes))
}

fn misconfigured(mistakes: &Mistakes) -> Exit {
    output::problem(mistakes);
    Exit::Configuration
}

/// The runtime of a command.
fn runtime() -> Result<tokio::runtime::Runtime, Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| {
        output::problem(&format!("the system gives no threads: {error}"));
        Exit::Failed
    })
}
