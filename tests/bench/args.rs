//! The command line.

use std::{collections::BTreeMap, fs, path::PathBuf};

use clap::Parser;

use super::{
    cases::{CASES, Case, DEFAULT_CASES, Workload},
    support::{TIMEOUT, daemon::DaemonBuilder},
};

/// First arguments with which this executable starts itself as another process of the benchmark.
pub(crate) const BARE: &str = "bare-loop";
pub(crate) const STUB_API: &str = "stub-api";

/// Compares the daemon with a bare loop written with the same libraries.
#[derive(Debug, Parser)]
pub(crate) struct BenchArgs {
    /// Cases to run; see --list. Default: the first three.
    cases: Vec<String>,
    /// Lists the cases.
    #[arg(long)]
    pub(crate) list: bool,
    /// How often each program runs.
    #[arg(long, default_value_t = 3)]
    pub(crate) pairs: usize,
    /// Number of commands, instead of the case's own.
    #[arg(long)]
    pub(crate) commands: Option<usize>,
    /// The daemon's journal: none, or file (in a new directory).
    #[arg(long, default_value = "none")]
    journal: String,
    /// Additional setting of the daemon, as section.key=value; repeatable.
    #[arg(long = "set", value_name = "SETTING=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// The daemon's executable.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_edna-courier"), value_parser = executable)]
    pub(crate) daemon: PathBuf,
    /// Executable of the bare loop built with the daemon's profile, measured as a third program.
    #[arg(long, value_parser = executable)]
    pub(crate) bare_lto: Option<PathBuf>,
    /// Prints the report as JSON on standard output.
    #[arg(long)]
    pub(crate) json: bool,
    /// Passed by cargo; ignored.
    #[arg(long, hide = true)]
    bench: bool,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as section.key=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The absolute path, as programs run in a directory of their own.
fn executable(path: &str) -> std::io::Result<PathBuf> {
    fs::canonicalize(path)
}

impl BenchArgs {
    /// The cases to run.
    pub(crate) fn selected_cases(&self) -> Vec<&'static Case> {
        let by_name = |name: &String| CASES.iter().find(|case| case.name == name).unwrap_or_else(|| unknown_case(name));
        if self.cases.is_empty() {
            CASES.iter().take(DEFAULT_CASES).collect()
        } else {
            self.cases.iter().map(by_name).collect()
        }
    }

    /// The size of the daemon's executable.
    pub(crate) fn daemon_bytes(&self) -> u64 {
        let file = fs::metadata(&self.daemon);
        file.unwrap_or_else(|e| panic!("the daemon's executable {}: {e}", self.daemon.display())).len()
    }

    /// The daemon's settings from the command line.
    pub(crate) fn daemon_settings(&self) -> BTreeMap<&str, &str> {
        let set = self.set.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        [("journal.kind", self.journal.as_str())].into_iter().chain(set).collect()
    }

    /// A builder of the daemon with this subcommand and limit of concurrent attempts.
    pub(crate) fn daemon(&self, subcommand: &str, in_flight: u16) -> DaemonBuilder {
        let program = self.daemon.to_str().expect("a path in UTF-8");
        let mut builder =
            DaemonBuilder::for_program(program, &[subcommand]).set("api.token", "t").set("delivery.max_text", "10000");
        builder = builder.set("limits.max_in_flight", &in_flight.to_string());
        if self.journal == "file" {
            // Relative to the working directory, which is new for each run.
            builder = builder.set("journal.dir", "journal");
        }
        self.daemon_settings().into_iter().fold(builder, |builder, (name, value)| builder.set(name, value))
    }

    /// The daemon's error about the settings of a case, if it rejects them.
    pub(crate) async fn settings_error(&self, case: &Case) -> Option<String> {
        let in_flight = match case.workload {
            Workload::Backlog(load) => load.in_flight,
            Workload::Steady(pace) => pace.in_flight,
        };
        let check = self.daemon("check", in_flight).set("api.base_url", "http://127.0.0.1:9").spawn();
        let rejected = check.wait_exit(TIMEOUT).await != 0;
        rejected.then(|| check.log_text().lines().map(str::trim).collect::<Vec<_>>().join(" "))
    }
}

fn unknown_case(name: &str) -> ! {
    let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
    panic!("unknown case {name}; the cases are {}", names.join(", "))
}

/// A builder that starts this executable with `argument` as its first argument.
pub(crate) fn this_executable(argument: &str) -> DaemonBuilder {
    let path = std::env::current_exe().expect("the path of this executable");
    DaemonBuilder::for_program(path.to_str().expect("a path in UTF-8"), &[argument])
}
