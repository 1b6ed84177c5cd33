//! A command queue with a single active consumer: the other daemons are hot standbys.

use std::{fs, time::Duration};

use edna_courier::sandbox::Options;
use lapin::types::AMQPValue;

use crate::support::{
    TIMEOUT, TempDir,
    daemon::DaemonBuilder,
    eventually::eventually,
    fixture::{Fixture, command, start_ready, wait_not_ready, wait_ready},
    proxy::Proxy,
};

/// Limit of the time from a valid credential to the first command.
const OPENING_TIMEOUT: Duration = Duration::from_secs(15);

/// Declares the topology with a single active consumer on the command queue.
async fn declare_single_active(fixture: &Fixture) {
    let declaring = start_ready(&fixture.builder()).await;
    declaring.signal("TERM");
    assert_eq!(declaring.wait_exit(TIMEOUT).await, 0);
    let (client, commands) = (fixture.queues.client(), fixture.queues.name("commands"));
    client.delete_queue(&commands).await;
    client.declare_queue(&commands, "send", [("x-single-active-consumer", AMQPValue::Boolean(true))]).await;
}

fn not_declaring(builder: DaemonBuilder) -> DaemonBuilder {
    builder.set("broker.declare", "false")
}

#[tokio::test]
async fn probe_opens_gate_with_single_active_consumer() {
    let options = Options { token: Some("new".into()), ..Options::default() };
    let fixture = Fixture::with("sac-probe", options).await;
    declare_single_active(&fixture).await;
    let broker = fixture.queues.broker();
    let proxy = Proxy::amqp(broker.host_and_port()).await;
    let secrets = TempDir::new("edna-courier-test-token");
    let file = secrets.path().join("token");
    fs::write(&file, "old").expect("a writable directory");
    let builder = not_declaring(fixture.builder_without_token())
        .set("broker.url", &broker.url_at(proxy.address()))
        .set("api.token_file", &file.display().to_string());
    let daemon = start_ready(&builder).await;
    fixture.send(10, "hello").await;
    wait_not_ready(&daemon, &["auth: "]).await;
    proxy.cut();
    let reconnects = async || daemon.metric("courier_reconnects_total", &[("role", "consume")]).await;
    eventually!(TIMEOUT, reconnects().await == 1.0, "a reconnect");

    // A probe with the old token, from the queue.
    let posts = fixture.posts();
    eventually!(TIMEOUT, fixture.posts() > posts, "a probe");
    fs::write(&file, "new").expect("a writable directory");
    let open = async || daemon.metric("courier_gate_closed", &[("reason", "auth")]).await == 0.0;
    eventually!(OPENING_TIMEOUT, open().await, "an open gate");
    fixture.expect_all_succeeded(10).await;
    assert_eq!(reconnects().await, 1.0, "no probe ends the session");
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn standby_takes_over_from_killed_daemon() {
    let fixture = Fixture::new("sac-standby").await;
    declare_single_active(&fixture).await;
    let [first, second] = [(); 2].map(|()| not_declaring(fixture.builder()));
    let active = start_ready(&first).await;
    let standby = start_ready(&second).await;
    fixture.send(100, "hello").await;
    fixture.expect_all_succeeded(100).await;

    active.kill();
    for index in 100..200 {
        fixture.queues.send(&command(index, "hello")).await;
    }
    let events = fixture.queues.events(100).await;
    assert!(events.iter().all(|event| event["outcome"] == "succeeded"), "{events:?}");
    wait_ready(&standby).await;
    assert_eq!(fixture.posts(), 200, "one POST for each command");
    fixture.drain(&standby).await;
}
