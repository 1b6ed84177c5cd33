//! Faults made on purpose. Whatever breaks: each command ends in exactly one outcome, what isn't an attempt isn't counted
//! as one, and the daemon comes back by itself.
//!
//! Kept elsewhere, and not repeated here: both connections cut or stalled, a broker that restarts, queues and a topology
//! that are missing (`sessions.rs`); a dead-letter queue that is gone or full (`settle.rs`); a token that is refused,
//! `Retry-After` in seconds (`gate.rs`).

mod api;
mod links;
mod own_broker;
mod publisher;
mod queue;
mod storing;

use std::time::Duration;

use edna_courier::sandbox::Options;

use crate::support::{
    SOON,
    account::{Account, Ending, Told},
    daemon::{Daemon, Setup},
    eventually::{eventually, poll},
    stage::{Stage, command},
};

/// At the latest so long after a fault has ended, commands are taken again.
const BACK: Duration = Duration::from_secs(15);

/// Long enough for what must not happen to happen.
const SILENCE: Duration = Duration::from_secs(1);

/// Attempts at once; the prefetch is half as much again.
const IN_FLIGHT: u64 = 4;
const PREFETCH: u64 = 6;

/// Slow enough that a fault meets attempts under way.
fn slowish() -> Options {
    Options { latency: Duration::from_millis(100), ..Options::default() }
}

/// Few attempts at once and short waits.
fn setup(stage: &Stage) -> Setup {
    for tier in ["retry.200ms", "retry.500ms"] {
        // Known by name, they are removed with the others.
        stage.queues.name(tier);
    }
    stage.setup().set("limits.max_in_flight", &IN_FLIGHT.to_string()).set("delivery.tiers", "200ms,500ms")
}

/// The fault is over: waits until commands are taken again.
async fn back(daemon: &Daemon) {
    let told = (200, "consuming\n".to_owned());
    eventually!(BACK, daemon.get("/readyz").await, |answer| *answer == told, "readiness after the fault");
}

async fn gate_closed_by(daemon: &Daemon, reason: &str) {
    let reasons = async || daemon.report().await["gate"]["reasons"].clone();
    let closed = |seen: &serde_json::Value| seen.as_array().is_some_and(|seen| seen.iter().any(|own| own == reason));
    eventually!(SOON, reasons().await, closed, format!("the gate to be closed by {reason}"));
}

/// The gate is closed: insists that no POST starts, and returns how many there were.
async fn expect_no_more_posts(stage: &Stage, daemon: &Daemon) -> u64 {
    let in_flight = async || daemon.metric("courier_in_flight", &[]).await;
    eventually!(SOON, in_flight().await, |count| *count == 0.0, "the end of what is under way");
    let posts = stage.posts();
    let more = poll(SILENCE, async || stage.posts(), |now| *now > posts).await;
    assert!(more.is_err(), "POSTs while the gate is closed");
    posts
}

/// Waits until the commands `c-0`, `c-1`, … are told, ends the daemon and takes all that is with the broker then.
async fn told(stage: &Stage, daemon: &Daemon, commands: u16) -> Account {
    let mut account = Account::open(&stage.queues).await;
    account.until_told(commands.into(), SOON).await;
    expect_no_doubt_without_reason(&account, daemon).await;
    stage.end(daemon).await;
    account.close(&stage.queues).await;
    let log = daemon.log_text();
    assert!(!log.contains("unknown delivery tag"), "what an old session brought is not settled on a new one");
    account
}

/// An event says that the customer may have got the message twice, or after all, if an attempt was without an answer, and
/// if the broker says that somebody had the command before: that it says also of what it was just handing over when the
/// gate closed.
async fn expect_no_doubt_without_reason(account: &Account, daemon: &Daemon) {
    let uncertain = daemon.metric("courier_attempts_total", &[("verdict", "uncertain")]).await;
    let redelivered = daemon.metric("courier_commands_received_total", &[("redelivered", "true")]).await;
    let doubtful = account.entries().values().filter(|entry| entry.is_doubtful()).count();
    assert!(
        doubtful as f64 <= uncertain + redelivered,
        "{doubtful} in doubt, {uncertain} uncertain, {redelivered} again"
    );
}

/// Insists that each of the commands `c-0`, `c-1`, … ended as wanted, and that none was delivered twice in secret.
fn judge(stage: &Stage, account: &Account, wanted: impl Fn(u16) -> Ending, commands: u16, told: Told) {
    account.expect((0..commands).map(|index| (format!("c-{index}"), wanted(index))), told);
    account.expect_no_secret_repeats(&stage.sandbox, |id| {
        let index = id.strip_prefix("c-").and_then(|index| index.parse().ok()).expect("c-<index>");
        command(index, "")["deviceAddress"].as_str().expect("a text").to_owned()
    });
}

/// Both.
pub(crate) async fn settle(stage: &Stage, daemon: &Daemon, wanted: impl Fn(u16) -> Ending, commands: u16, told: Told) {
    let account = self::told(stage, daemon, commands).await;
    judge(stage, &account, wanted, commands, told);
}
