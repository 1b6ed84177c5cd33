//! The command line.

use std::{collections::BTreeMap, fs, path::PathBuf};

use clap::Parser;

use super::{
    cases::{CASES, Case, USUAL, Work},
    support::{SOON, daemon::Setup},
};

/// Measures the daemon beside a bare loop of the same libraries.
#[derive(Debug, Parser)]
pub(crate) struct Settings {
    /// Which cases; without any, the usual ones. See --list.
    cases: Vec<String>,
    /// Names the cases.
    #[arg(long)]
    pub(crate) list: bool,
    /// How often both sides take their turn.
    #[arg(long, default_value_t = 3)]
    pub(crate) pairs: usize,
    /// As many commands instead of the case's own.
    #[arg(long)]
    pub(crate) commands: Option<usize>,
    /// The daemon's journal: none, or file in a new directory.
    #[arg(long, default_value = "none")]
    journal: String,
    /// More settings of the daemon's, as section.key=value.
    #[arg(long = "set", value_name = "SETTING=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// The daemon's binary.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_edna-courier"), value_parser = program)]
    pub(crate) daemon: PathBuf,
    /// Tells everything as JSON on standard output, too.
    #[arg(long)]
    pub(crate) json: bool,
    /// Cargo says so; it means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as section.key=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// It runs in a directory of its own, so the path must not be relative.
fn program(path: &str) -> std::io::Result<PathBuf> {
    fs::canonicalize(path)
}

impl Settings {
    /// The cases that are asked for.
    pub(crate) fn chosen(&self) -> Vec<&'static Case> {
        let named = |name: &String| CASES.iter().find(|case| case.name == name).unwrap_or_else(|| no_case(name));
        if self.cases.is_empty() { CASES.iter().take(USUAL).collect() } else { self.cases.iter().map(named).collect() }
    }

    /// In bytes.
    pub(crate) fn daemon_bytes(&self) -> u64 {
        let file = fs::metadata(&self.daemon);
        file.unwrap_or_else(|e| panic!("the daemon's binary {}: {e}", self.daemon.display())).len()
    }

    /// What the daemon is told besides what a case needs.
    pub(crate) fn passed_on(&self) -> BTreeMap<&str, &str> {
        let set = self.set.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        [("journal.kind", self.journal.as_str())].into_iter().chain(set).collect()
    }

    /// The daemon, called like this, with so many attempts at once.
    pub(crate) fn daemon(&self, verb: &str, in_flight: u16) -> Setup {
        let program = self.daemon.to_str().expect("a path in UTF-8");
        let mut setup = Setup::of(program, &[verb]).set("api.token", "t").set("delivery.max_text", "10000");
        setup = setup.set("limits.max_in_flight", &in_flight.to_string());
        if self.journal == "file" {
            // The working directory is the run's own.
            setup = setup.set("journal.dir", "journal");
        }
        self.passed_on().into_iter().fold(setup, |setup, (name, value)| setup.set(name, value))
    }

    /// Why the daemon does not take the settings of a case, if it does not.
    pub(crate) async fn refusal(&self, case: &Case) -> Option<String> {
        let in_flight = match case.work {
            Work::Backlog(load) => load.in_flight,
            Work::Steady(_) => super::latency::IN_FLIGHT,
        };
        let check = self.daemon("check", in_flight).set("api.base_url", "http://127.0.0.1:9").spawn();
        let refused = check.wait_exit(SOON).await != 0;
        refused.then(|| check.log_text().lines().map(str::trim).collect::<Vec<_>>().join(" "))
    }
}

fn no_case(name: &str) -> ! {
    let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
    panic!("no case is named {name}; there are {}", names.join(", "))
}

/// This program, as a part of the benchmark.
pub(crate) fn own(part: &str) -> Setup {
    let own = std::env::current_exe().expect("the path of this program");
    Setup::of(own.to_str().expect("a path in UTF-8"), &[part])
}

/// A setting of a part of the benchmark.
pub(crate) fn told(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: this is started by the benchmark itself"))
}
