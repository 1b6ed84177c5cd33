//! Injected faults: each command ends in exactly one outcome, only real attempts are counted, and the daemon recovers by
//! itself.
//!
//! Other modules cover: both connections cut or stalled, broker restarts, missing queues and topology (`sessions.rs`); a
//! missing or full dead-letter queue (`settle.rs`); a refused token, `Retry-After` in seconds (`gate.rs`).

mod api;
mod connections;
mod doubt;
mod listener_queue;
mod nodes;
mod own_broker;
mod probes;
mod publish_failures;
mod publisher;
mod queue;

use std::time::Duration;

use edna_courier::sandbox::Options;

use crate::support::{
    TIMEOUT,
    collector::{Duplicates, ExpectedOutcome, OutcomeCollector},
    daemon::{Daemon, DaemonBuilder},
    eventually::{eventually, poll},
    fixture::{Fixture, command, is_consuming},
};

/// Limit of the time from the end of a fault until the daemon consumes again.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(15);

/// How long to watch for a POST that must not happen.
const QUIET_PERIOD: Duration = Duration::from_secs(1);

/// Limit of concurrent attempts; the prefetch is half as much again.
const IN_FLIGHT: u64 = 4;
const PREFETCH: u64 = 6;

/// Slow enough that a fault hits attempts in flight.
fn slow_api() -> Options {
    Options { latency: Duration::from_millis(100), ..Options::default() }
}

/// A builder with few concurrent attempts and short tiers.
fn builder(fixture: &Fixture) -> DaemonBuilder {
    for tier in ["retry.200ms", "retry.500ms"] {
        // Registers the tier queues for deletion.
        fixture.queues.name(tier);
    }
    fixture.builder().set("limits.max_in_flight", &IN_FLIGHT.to_string()).set("delivery.tiers", "200ms,500ms")
}

/// Waits until the daemon consumes again after the end of a fault.
async fn wait_recovered(daemon: &Daemon) {
    eventually!(RECOVERY_TIMEOUT, daemon.get("/readyz").await, is_consuming, "readiness after the fault");
}

/// Waits until the gate is closed for this reason, among others.
async fn wait_gate_closed(daemon: &Daemon, reason: &str) {
    let reasons = async || daemon.status().await["gate"]["reasons"].clone();
    let closed = |seen: &serde_json::Value| seen.as_array().is_some_and(|seen| seen.iter().any(|own| own == reason));
    eventually!(TIMEOUT, reasons().await, closed, format!("the gate to be closed by {reason}"));
}

/// Waits until no attempt is in flight, then asserts that none starts. Returns the number of POSTs so far.
async fn expect_no_more_posts(fixture: &Fixture, daemon: &Daemon) -> u64 {
    let in_flight = async || daemon.metric("courier_in_flight", &[]).await;
    eventually!(TIMEOUT, in_flight().await, |count| *count == 0.0, "no attempt in flight");
    let posts = fixture.posts();
    let more = poll(QUIET_PERIOD, async || fixture.posts(), |now| *now > posts).await;
    assert!(more.is_err(), "POSTs while the gate is closed");
    posts
}

/// Waits until this many commands have an event, drains the daemon and collects all remaining messages.
async fn collect_outcomes(fixture: &Fixture, daemon: &Daemon, commands: u16) -> OutcomeCollector {
    let mut outcomes = OutcomeCollector::start(&fixture.queues).await;
    let deadline = TIMEOUT + Duration::from_millis(10) * u32::from(commands);
    outcomes.wait_for_events(commands.into(), deadline).await;
    assert_possible_duplicates_justified(&outcomes, daemon).await;
    fixture.drain(daemon).await;
    outcomes.drain(&fixture.queues).await;
    let log = daemon.log_text();
    assert!(!log.contains("unknown delivery tag"), "no delivery is settled on another channel");
    outcomes
}

/// Asserts that `possibleDuplicate` is set only after uncertain attempts and redeliveries. Closing the gate causes some
/// redeliveries too: those on their way while the consumer is cancelled.
async fn assert_possible_duplicates_justified(outcomes: &OutcomeCollector, daemon: &Daemon) {
    let uncertain = daemon.metric("courier_attempts_total", &[("verdict", "uncertain")]).await;
    let redelivered = daemon.metric("courier_commands_received_total", &[("redelivered", "true")]).await;
    let possible_duplicates = outcomes.commands().values().filter(|entry| entry.is_possible_duplicate()).count();
    assert!(
        possible_duplicates as f64 <= uncertain + redelivered,
        "{possible_duplicates} possible duplicates, {uncertain} uncertain attempts, {redelivered} redeliveries"
    );
}

/// Asserts the outcome of each command `c-0`, `c-1`, …, and that duplicate deliveries are reported.
fn assert_outcomes(
    fixture: &Fixture,
    outcomes: &OutcomeCollector,
    expected: impl Fn(u16) -> ExpectedOutcome,
    commands: u16,
    duplicates: Duplicates,
) {
    outcomes.assert_outcomes((0..commands).map(|index| (format!("c-{index}"), expected(index))), duplicates);
    outcomes.assert_duplicates_reported(&fixture.sandbox, |id| {
        let index = id.strip_prefix("c-").and_then(|index| index.parse().ok()).expect("c-<index>");
        command(index, "")["deviceAddress"].as_str().expect("a text").to_owned()
    });
}

/// [`collect_outcomes`], then [`assert_outcomes`].
pub(crate) async fn expect_outcomes(
    fixture: &Fixture,
    daemon: &Daemon,
    expected: impl Fn(u16) -> ExpectedOutcome,
    commands: u16,
    duplicates: Duplicates,
) {
    let outcomes = collect_outcomes(fixture, daemon, commands).await;
    assert_outcomes(fixture, &outcomes, expected, commands, duplicates);
}
