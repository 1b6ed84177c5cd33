//! Long tests on demand: random faults under load for half an hour, and measurements of extreme cases.
//!
//! ```text
//! sh tests/run.sh soak      # EDNA_COURIER_SOAK_SECONDS and EDNA_COURIER_SOAK_SEED
//! sh tests/run.sh figures
//! ```
//!
//! The soak runs two deployments with one broker and one API: a daemon with a file journal, and two daemons that share a
//! queue and a journal in Redis. It injects one fault at a time, with commands that fail by themselves and messages that
//! no client can decode beside it, and loses both journals once. `account.rs` then closes the account, see
//! `selftest.rs` for its tests.
#![cfg(test)] // Makes clippy treat this target as test code.
#![expect(clippy::disallowed_methods, reason = "tests spawn servers, read the clock and the environment")]

mod account;
mod cluster;
mod collector;
mod config;
mod deployment;
mod doubt;
mod environment;
mod faults;
mod figures;
mod injector;
mod kind;
mod large_bodies;
mod ledger;
mod load;
mod memory;
mod order;

#[expect(dead_code, reason = "used in full by the integration tests")]
#[path = "../it/support/mod.rs"]
mod support;

use std::{fs, time::Duration};

use self::{
    account::Account,
    collector::Collector,
    config::{MAX_ATTEMPTS, env_number},
    environment::Environment,
    injector::FaultInjector,
    load::CommandLoad,
    memory::MemorySamples,
};

/// Findings that are printed with their history.
const MAX_EXPLAINED: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak() {
    let seed = env_number("EDNA_COURIER_SOAK_SEED").unwrap_or_else(|| fastrand::u64(..));
    let duration = Duration::from_secs(env_number("EDNA_COURIER_SOAK_SECONDS").unwrap_or(1_800));
    println!("{duration:?} of faults; to repeat this run, set EDNA_COURIER_SOAK_SEED={seed}");
    let environment = Environment::start(seed).await;
    let mut collector = Collector::new(&environment).await;
    let (mut load, mut injector) = (CommandLoad::new(seed, &environment), FaultInjector::new(seed, &environment));
    let mut memory = MemorySamples::default();

    let run = async {
        let (faults, ()) = tokio::join!(injector.run(duration), load.run());
        let settled = environment.wait_settled().await.map(drop);
        environment.finish();
        [faults, settled]
    };
    let (results, (), (), ()) =
        tokio::join!(run, collector.run(), environment.supervise(), memory.collect(&environment));

    environment.terminate().await;
    let mut problems: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    problems.extend(collector.collect().await.err().map(|error| error.to_string()));
    collector.collect_poison().await;
    collector.record_posts();
    problems.extend(environment.left_over().await);
    problems.extend(memory.problem());
    problems.extend(audit(&environment));
    let logs = environment.write_logs().await.clone();
    // Before a panic, in which each daemon would print its log.
    drop((collector, load, injector));
    drop(environment);
    assert!(problems.is_empty(), "seed {seed}, logs in {}:\n{}", logs.display(), problems.join("\n"));
    drop(fs::remove_dir_all(logs));
}

/// Closes the account; returns its findings.
fn audit(environment: &Environment) -> Vec<String> {
    let ledger = environment.ledger();
    let account = Account::new(&ledger, MAX_ATTEMPTS);
    let findings = account.findings();
    println!("{account}; {} findings", findings.len());
    let explained = findings.iter().take(MAX_EXPLAINED).map(|finding| account.explain(finding));
    explained.chain(findings.iter().skip(MAX_EXPLAINED).map(|finding| finding.problem.clone())).collect()
}
