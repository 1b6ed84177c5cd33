//! The commands queue is deleted while the daemon has no consumer on it.

use edna_courier::sandbox::Options;

use super::{builder, wait_gate_closed, wait_recovered};
use crate::support::{
    TIMEOUT,
    collector::{Duplicates, ExpectedOutcome, OutcomeCollector},
    eventually::eventually,
    fixture::{Fixture, command, start_ready},
};

#[tokio::test]
async fn queue_deleted_while_gate_closed_is_redeclared() {
    const OLD: u16 = 10;
    const ALL: u16 = 20;
    let options = Options { token: Some("another".into()), ..Options::default() };
    let fixture = Fixture::with("queue-gone", options).await;
    let daemon = start_ready(&builder(&fixture)).await;
    for index in 0..OLD {
        fixture.queues.send(&command(index, "old")).await;
    }
    wait_gate_closed(&daemon, "auth").await;
    eventually!(TIMEOUT, daemon.metric("courier_consumer_active", &[]).await == 0.0, "no active consumer");
    fixture.queues.client().delete_queue(&fixture.queues.name("commands")).await;

    let sessions = async || daemon.metric("courier_reconnects_total", &[("role", "consume")]).await;
    eventually!(TIMEOUT, sessions().await >= 1.0, "a new session, which declares the queue");
    for index in OLD..ALL {
        fixture.queues.send(&command(index, "new")).await;
    }
    fixture.sandbox.set_token("t".into());
    wait_recovered(&daemon).await;
    let mut outcomes = OutcomeCollector::start(&fixture.queues).await;
    let finished = async || daemon.metric("courier_commands_finished_total", &[]).await;
    eventually!(TIMEOUT, finished().await, |count| *count >= f64::from(ALL - OLD), "the outcomes of the new commands");
    fixture.drain(&daemon).await;
    outcomes.drain(&fixture.queues).await;
    // Old commands may be deleted with the queue; those in hand may have an outcome.
    let has_outcome = |id: &String| outcomes.commands().contains_key(id);
    let ids = (0..ALL).map(|index| (index, format!("c-{index}")));
    let expected = ids
        .filter(|(index, id)| *index >= OLD || has_outcome(id))
        .map(|(_, id)| (id, ExpectedOutcome::succeeded(1..=1)));
    outcomes.assert_outcomes(expected, Duplicates::Forbidden);
}
