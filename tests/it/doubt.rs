//! Doubt: a command that may have been posted without a record is uncertain; one that was not posted is not.

use std::{fs, net::TcpListener, path::PathBuf, time::Duration};

use edna_courier::sandbox::{Action, Options, Rule};

use crate::support::{
    TIMEOUT,
    daemon::DaemonBuilder,
    eventually::eventually,
    fixture::{Fixture, command, start_ready, wait_not_ready, wait_ready},
    proxy::Proxy,
};

/// The working directory of the builder's daemons has the journal.
fn journal_dir(builder: &DaemonBuilder) -> PathBuf {
    builder.dir().join("edna-courier-journal")
}

/// Kills a daemon during a POST, removes its journal, and runs another one that never reaches the broker.
async fn lose_journal_during_post(fixture: &Fixture, builder: DaemonBuilder) -> DaemonBuilder {
    fixture.sandbox.script([Rule::new(Action::delay(Duration::from_secs(60)))]).expect("room");
    let daemon = start_ready(&builder).await;
    fixture.send(1, "hello").await;
    eventually!(TIMEOUT, fixture.posts() == 1, "a POST");
    daemon.kill();
    let journal = journal_dir(&builder);
    fs::remove_dir_all(&journal).expect("removed");
    let unused = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let builder = builder.set("broker.url", &format!("amqp://guest:guest@{unused}/%2f"));
    let daemon = builder.start().await;
    eventually!(TIMEOUT, journal.join("0000000001.log").exists(), "a new journal");
    daemon.signal("TERM");
    daemon.wait_exit(TIMEOUT).await;
    builder.set("broker.url", fixture.queues.broker().url())
}

#[tokio::test]
async fn journal_lost_with_park_never_posts_twice() {
    let fixture = Fixture::new("doubt-park").await;
    let builder = fixture.builder().set("delivery.on_uncertain", "park");
    let builder = lose_journal_during_post(&fixture, builder).await;
    let daemon = start_ready(&builder).await;
    let event = fixture.queues.events(1).await.remove(0);
    assert_eq!((event["outcome"].as_str(), event["possibleDuplicate"].as_bool()), (Some("uncertain"), Some(true)));
    assert_eq!(fixture.queues.dead_letters(1).await.len(), 1);
    assert_eq!(fixture.posts(), 1);
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn journal_lost_with_resend_reports_possible_duplicate() {
    let fixture = Fixture::new("doubt-resend").await;
    let builder = fixture.builder().set("delivery.on_uncertain", "resend");
    let builder = lose_journal_during_post(&fixture, builder).await;
    let daemon = start_ready(&builder).await;
    let event = fixture.queues.events(1).await.remove(0);
    assert_eq!((event["outcome"].as_str(), event["possibleDuplicate"].as_bool()), (Some("succeeded"), Some(true)));
    assert_eq!(fixture.posts(), 2);
    // Later commands are not in doubt.
    fixture.queues.send(&command(1, "hello")).await;
    assert_eq!(fixture.queues.events(1).await[0]["possibleDuplicate"], false);
    fixture.drain(&daemon).await;
}

/// A closed gate, lost connections and a restart while the journal is new: the broker redelivers what was in hand and what
/// it took back before this daemon saw it.
#[tokio::test]
async fn unposted_commands_with_new_journal_are_not_in_doubt() {
    let options = Options { token: Some("right".into()), ..Options::default() };
    let fixture = Fixture::with("doubt-none", options).await;
    let proxy = Proxy::tcp(fixture.queues.broker().host_and_port()).await;
    let builder = fixture.builder_without_token().set("broker.url", &fixture.queues.broker().url_at(proxy.address()));
    let builder = builder.set("delivery.on_uncertain", "park").set("limits.max_in_flight", "16");
    let token = builder.dir().join("token");
    fs::write(&token, "wrong").expect("written");
    let builder = builder.set("api.token_file", &token.display().to_string());
    let daemon = builder.start().await;
    eventually!(TIMEOUT, daemon.get("/readyz").await.0 == 200, "the topology is declared");
    fixture.send(150, "hello").await;
    for _ in 0..2 {
        wait_not_ready(&daemon, &["auth: "]).await;
        proxy.cut();
        eventually!(TIMEOUT, daemon.metric("courier_connected", &[("role", "consume")]).await == 1.0, "a connection");
    }
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(TIMEOUT).await, 0);
    let daemon = builder.start().await;
    wait_not_ready(&daemon, &["auth: "]).await;
    fs::write(&token, "right").expect("written");
    let events = fixture.expect_all_succeeded(150).await;
    let doubtful: Vec<_> = events.iter().filter(|event| event["possibleDuplicate"] == true).collect();
    assert!(doubtful.is_empty(), "{} of 150: {:?}", doubtful.len(), doubtful.first());
    wait_ready(&daemon).await;
    fixture.queues.client().expect_empty(&fixture.queues.name("dead")).await;
    fixture.drain(&daemon).await;
}

/// The slow start replaces subscriptions while commands are on their way, which the broker then delivers again.
#[tokio::test]
async fn first_commands_with_new_journal_are_not_in_doubt() {
    let fixture = Fixture::new("doubt-first").await;
    let daemon = start_ready(&fixture.builder().set("delivery.on_uncertain", "park")).await;
    fixture.send(1, "hello").await;
    fixture.expect_all_succeeded(1).await;
    let in_doubt = async || !daemon.status().await["journal_doubt"].is_null();
    assert!(!in_doubt().await, "{}", daemon.log_text());
    fixture.drain(&daemon).await;
}
