//! Settling: the ack follows the confirm; an outcome that cannot be published closes the gate and causes no second POST.

use serde_json::{Value, json};

use crate::support::{
    TIMEOUT,
    daemon_fixture::{DaemonFixture, SandboxApi},
    eventually::eventually,
    proxy::Proxy,
    queues::Queues,
};

fn command(id: &str, text: &str) -> Value {
    json!({ "commandId": id, "text": text, "channelType": "WHATSAPP", "deviceAddress": "89000000000" })
}

// --- Withheld confirms ---

/// A daemon with one delivered command whose event is stored; the proxy withholds its confirm.
async fn with_unconfirmed_event(test: &str) -> (Proxy, DaemonFixture) {
    let (queues, api) = (Queues::new(test).await, SandboxApi::start());
    let proxy = Proxy::amqp(queues.broker().host_and_port()).await;
    let (broker_url, base_url) = (queues.broker().url_at(proxy.address()), api.url());
    let fixture = DaemonFixture::on(queues, api, &base_url, &[("broker.url", &broker_url)]).await;
    proxy.withhold_confirms();
    fixture.queues.send(&command("order-1", "Hello")).await;
    eventually!(TIMEOUT, proxy.confirms_withheld(), |withheld| *withheld == 1, "a withheld confirm");
    (proxy, fixture)
}

async fn expect_still_in_hand(fixture: &DaemonFixture) {
    assert_eq!(fixture.posts(), (1, 1));
    for gauge in ["courier_in_hand", "courier_unconfirmed"] {
        assert_eq!(fixture.daemon.metric(gauge, &[]).await, 1.0, "{gauge}");
    }
    assert_eq!(fixture.daemon.metric("courier_commands_finished_total", &[]).await, 0.0);
}

#[tokio::test]
async fn delivery_is_not_acked_before_the_confirm() {
    let (_proxy, fixture) = with_unconfirmed_event("unconfirmed-kill").await;
    expect_still_in_hand(&fixture).await;
    fixture.daemon.kill();
    // An acked command would not come back.
    let (client, commands) = (fixture.queues.client(), fixture.queues.name("commands"));
    let redelivery = client.read_one(&commands, TIMEOUT).await;
    assert_eq!((redelivery.json(), redelivery.redelivered), (command("order-1", "Hello"), true));
    assert_eq!(fixture.queues.events(1).await[0]["outcome"], "succeeded");
    assert_eq!(fixture.posts(), (1, 1));
    fixture.queues.expect_all_empty().await;
}

#[tokio::test]
async fn late_confirm_settles_the_delivery() {
    let (proxy, fixture) = with_unconfirmed_event("unconfirmed-late").await;
    expect_still_in_hand(&fixture).await;
    proxy.resume().await;
    let in_hand = async || fixture.daemon.metric("courier_in_hand", &[]).await;
    eventually!(TIMEOUT, in_hand().await, |count| *count == 0.0, "no command in hand");
    assert_eq!(fixture.queues.events(1).await[0]["outcome"], "succeeded");
    assert_eq!(fixture.posts(), (1, 1));
    fixture.finish().await;
}

#[tokio::test]
async fn connection_lost_before_confirm_repeats_the_event() {
    let (proxy, fixture) = with_unconfirmed_event("unconfirmed-cut").await;
    let before = proxy.accepted();
    proxy.cut();
    eventually!(TIMEOUT, proxy.accepted() >= before + 2, "both connections re-established");
    proxy.resume().await;
    // The first event, its second publish after the lost confirm, and the event of the redelivery, which is a possible
    // duplicate without a journal.
    let events = fixture.queues.events(3).await;
    let [first, _, _] = events.as_slice() else { unreachable!("three events were read") };
    let summary =
        |event: &Value| json!([event["eventId"] == first["eventId"], event["outcome"], event["possibleDuplicate"]]);
    let summaries: Vec<_> = events.iter().map(summary).collect();
    let (certain, uncertain) = (json!([true, "succeeded", false]), json!([true, "succeeded", true]));
    assert_eq!(summaries, [certain.clone(), certain, uncertain]);
    assert_eq!(fixture.posts(), (2, 2));
    fixture.wait_consuming(true).await;
    fixture.finish().await;
}

// --- Unpublishable dead letters ---

/// Sends a rejected command whose dead letter cannot be stored; asserts that the gate closes and the next command waits.
async fn expect_blocked(fixture: &DaemonFixture, result: &str) {
    fixture.queues.send(&command("bad", "[[status=400]]")).await;
    fixture.wait_gate_closed(&["blocked"]).await;
    fixture.wait_consuming(false).await;
    fixture.queues.send(&command("good", "Hello")).await;
    let labels = [("target", "dead"), ("result", result)];
    let attempts = async || fixture.daemon.metric("courier_publishes_total", &labels).await;
    eventually!(TIMEOUT, attempts().await, |count| *count >= 3.0, "repeated publishes of the dead letter");
    assert_eq!(fixture.posts(), (1, 0), "only the publish is retried");
    let commands = fixture.queues.name("commands");
    assert_eq!(fixture.queues.client().depth(&commands).await, 1, "the next command stays in the queue");
    assert_eq!(fixture.daemon.metric("courier_in_hand", &[]).await, 1.0);
}

/// Asserts that the gate has opened and both commands have finished once.
async fn expect_unblocked(fixture: DaemonFixture) {
    let letter = fixture.queues.dead_letters(1).await.swap_remove(0);
    assert_eq!((letter.key.as_str(), letter.json()), ("rejected", command("bad", "[[status=400]]")));
    let events = fixture.queues.events(2).await;
    let outcomes: Vec<_> = events.iter().map(|event| json!([event["commandId"], event["outcome"]])).collect();
    assert_eq!(outcomes, [json!(["bad", "failed"]), json!(["good", "succeeded"])]);
    fixture.wait_gate_closed(&[]).await;
    assert_eq!(fixture.posts(), (2, 1));
    fixture.drain().await;
}

/// A daemon without the dead-letter queue and without the queue for unroutable messages.
async fn without_dead_queue(test: &str) -> DaemonFixture {
    let fixture = DaemonFixture::new(test, &[]).await;
    for name in ["dead", "unroutable"] {
        fixture.queues.client().delete_queue(&fixture.queues.name(name)).await;
    }
    fixture
}

#[tokio::test]
async fn returned_dead_letter_closes_gate_until_queue_exists() {
    let fixture = without_dead_queue("dead-gone").await;
    expect_blocked(&fixture, "returned").await;
    let problem = &fixture.daemon.status().await["gate"]["problems"]["blocked"];
    let destination = format!("exchange {:?} with the routing key \"rejected\"", fixture.queues.name("dead"));
    let cause = "the broker returned the message: no queue is bound for it";
    assert_eq!(*problem, format!("the publish for command \"bad\" to {destination} failed: {cause}"));
    let client = fixture.queues.client();
    // In this order: with only `unroutable` bound, the dead letter would go there.
    client.declare_queue(&fixture.queues.name("dead"), "rejected", []).await;
    client.declare_queue(&fixture.queues.name("unroutable"), "", []).await;
    expect_unblocked(fixture).await;
}

#[tokio::test]
async fn refused_dead_letter_closes_gate_until_queue_has_room() {
    let fixture = DaemonFixture::new("dead-full", &[]).await;
    let (client, dead) = (fixture.queues.client(), fixture.queues.name("dead"));
    client.delete_queue(&dead).await;
    client.declare_full_queue(&dead, "rejected").await;

    expect_blocked(&fixture, "refused").await;
    let problem = &fixture.daemon.status().await["gate"]["problems"]["blocked"];
    let destination = format!("exchange {:?} with the routing key \"rejected\"", fixture.queues.name("dead"));
    let cause = "the broker refused the message: a bound queue is full or unavailable";
    assert_eq!(*problem, format!("the publish for command \"bad\" to {destination} failed: {cause}"));
    let fillers = u16::try_from(client.depth(&dead).await).expect("a few");
    let read = fixture.queues.dead_letters(fillers).await;
    assert!(read.iter().all(|message| message.body == b"filler"), "the dead letter is not stored");
    expect_unblocked(fixture).await;
}

#[tokio::test]
async fn crash_with_unstored_dead_letter_loses_no_command() {
    let fixture = without_dead_queue("dead-crash").await;
    expect_blocked(&fixture, "returned").await;
    fixture.daemon.kill();
    let commands = fixture.queues.client().read(&fixture.queues.name("commands"), 2, TIMEOUT).await;
    let mut ids: Vec<_> = commands.iter().map(|message| message.json()["commandId"].to_string()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [r#""bad""#, r#""good""#]);
    let events = fixture.queues.events(1).await;
    assert_eq!((&events[0]["commandId"], &events[0]["outcome"]), (&json!("bad"), &json!("failed")));
    assert_eq!(fixture.posts(), (1, 0));
}
