//! The queue of commands goes while nobody is subscribed to it.

use edna_courier::sandbox::Options;

use super::{back, gate_closed_by, setup};
use crate::support::{
    SOON,
    account::{Account, Ending, Told},
    eventually::eventually,
    stage::{Stage, command, start_ready},
};

#[tokio::test]
async fn a_queue_that_goes_while_the_gate_is_closed_is_declared_and_served_again() {
    const OLD: u16 = 10;
    const ALL: u16 = 20;
    let only = Options { token: Some("another".into()), ..Options::default() };
    let stage = Stage::with("queue-gone", only).await;
    let daemon = start_ready(&setup(&stage)).await;
    for index in 0..OLD {
        stage.queues.send(&command(index, "old")).await;
    }
    gate_closed_by(&daemon, "auth").await;
    eventually!(SOON, daemon.metric("courier_consumer_active", &[]).await == 0.0, "the end of the subscription");
    stage.queues.client().delete_queue(&stage.queues.name("commands")).await;

    let sessions = async || daemon.metric("courier_reconnects_total", &[("role", "consume")]).await;
    eventually!(SOON, sessions().await >= 1.0, "a session that has declared the queue again");
    for index in OLD..ALL {
        stage.queues.send(&command(index, "new")).await;
    }
    stage.sandbox.set_token("t".into());
    back(&daemon).await;
    let mut account = Account::open(&stage.queues).await;
    let news = async || daemon.metric("courier_commands_finished_total", &[]).await;
    eventually!(SOON, news().await, |told| *told >= f64::from(ALL - OLD), "the new commands' outcomes");
    stage.end(&daemon).await;
    account.close(&stage.queues).await;
    // What was deleted with the queue is gone; what was in hand then may be told.
    let told = |id: &String| account.entries().contains_key(id);
    let ids = (0..ALL).map(|index| (index, format!("c-{index}")));
    let wanted = ids.filter(|(index, id)| *index >= OLD || told(id)).map(|(_, id)| (id, Ending::success(1..=1)));
    account.expect(wanted, Told::Once);
}
