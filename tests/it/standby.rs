//! A command queue with a single active consumer: the other daemons are hot standbys.

use std::{fs, time::Duration};

use edna_courier::sandbox::{Action, Options, Rule};
use lapin::types::AMQPValue;

use crate::support::{
    TIMEOUT, TempDir,
    daemon::{Daemon, DaemonBuilder},
    eventually::eventually,
    fixture::{Fixture, command, id, start_ready, wait_not_ready, wait_ready},
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
    let succeeded = async || standby.metric("courier_commands_finished_total", &[("outcome", "succeeded")]).await;
    eventually!(TIMEOUT, succeeded().await >= 100.0, "an outcome of each");
    wait_ready(&standby).await;
    fixture.drain(&standby).await;
    // The broker may not have read the last acknowledgements of the killed daemon.
    let repeated = u16::try_from(fixture.posts() - 200).expect("few");
    let events = fixture.queues.events(100 + repeated).await;
    assert!(events.iter().all(|event| event["outcome"] == "succeeded"), "{events:?}");
    let possible_duplicates = events.iter().filter(|event| event["possibleDuplicate"] == true).count();
    assert!(possible_duplicates >= usize::from(repeated), "each repeated POST is a possible duplicate: {events:?}");
}

/// The broker counts one consumer, which is not the standby's.
#[tokio::test]
async fn standby_posts_no_command_twice_untold() {
    let fixture = Fixture::new("sac-journals").await;
    declare_single_active(&fixture).await;
    fixture.sandbox.script([Rule::new(Action::delay(Duration::from_secs(60)))]).expect("room");
    let builders = [(); 2].map(|()| not_declaring(fixture.builder()).set("log.level", "trace"));
    let [first, second] = builders.map(|builder| builder.set("delivery.on_uncertain", "park"));
    let active = start_ready(&first).await;
    let standby = start_ready(&second).await;
    eventually!(TIMEOUT, standby.log_text().contains("the command queue has 1 consumers"), "a count");
    fixture.send(1, "hello").await;
    eventually!(TIMEOUT, fixture.posts() == 1, "a POST in flight");
    // The active daemon takes more at once by another subscription, which hands the queue over to the standby.
    for index in 1..6 {
        fixture.queues.send(&command(index, "hello")).await;
        assert_eq!(id(&fixture.queues.events(1).await[0]), format!("c-{index}"));
    }
    let taken_over = async || standby.metric("courier_commands_received_total", &[]).await;
    assert!(taken_over().await >= 1.0, "the standby has got a first delivery");

    active.kill();
    let event = loop {
        let event = fixture.queues.events(1).await.remove(0);
        // The acknowledgement of the last one may be lost with the process: the standby cannot know of its POST.
        if id(&event) != "c-5" {
            break event;
        }
    };
    let parked = ("c-0", Some("uncertain"), Some(true));
    assert_eq!((id(&event), event["outcome"].as_str(), event["possibleDuplicate"].as_bool()), parked);
    assert_eq!(fixture.posts(), 6, "one POST for each command");
    assert_eq!(fixture.queues.dead_letters(1).await.len(), 1);
    fixture.drain(&standby).await;
}

async fn suspends_order(daemon: &Daemon) -> bool {
    daemon.status().await["order_suspended"] == true
}

#[tokio::test]
async fn active_daemon_keeps_the_order_and_a_standby_does_not() {
    let fixture = Fixture::new("sac-order").await;
    declare_single_active(&fixture).await;
    let [first, second] = [(); 2].map(|()| not_declaring(fixture.builder()));
    let active = start_ready(&first).await;
    let standby = start_ready(&second).await;
    eventually!(TIMEOUT, suspends_order(&standby).await, "the standby knows of the active daemon");
    assert!(!suspends_order(&active).await, "the active daemon is alone");
    active.kill();
    fixture.send(3, "hello").await;
    fixture.queues.events(3).await;
    assert!(!suspends_order(&standby).await, "the standby has taken over");
    fixture.drain(&standby).await;
}
