//! An outcome is stored first and acknowledged then; what cannot be stored closes the gate, and nothing is posted twice.

use lapin::{BasicProperties, types::AMQPValue};
use serde_json::{Value, json};

use crate::support::{
    SOON,
    bench::{Bench, Played},
    client::Published,
    eventually::eventually,
    proxy::Proxy,
    queues::Queues,
};

fn command(id: &str, text: &str) -> Value {
    json!({ "commandId": id, "text": text, "channelType": "WHATSAPP", "deviceAddress": "89000000000" })
}

// --- Confirms that do not come ---

/// A daemon behind a proxy, with one command delivered whose event the broker has stored and not confirmed.
async fn unconfirmed(test: &str) -> (Proxy, Bench) {
    let (queues, api) = (Queues::new(test).await, Played::start());
    let proxy = Proxy::amqp(queues.broker().host_and_port()).await;
    let (broker_url, base_url) = (queues.broker().url_at(proxy.address()), api.url());
    let bench = Bench::on(queues, api, &base_url, &[("broker.url", &broker_url)]).await;
    proxy.withhold_confirms();
    bench.queues.send(&command("order-1", "Hello")).await;
    eventually!(SOON, proxy.confirms_withheld(), |withheld| *withheld == 1, "the confirm that is held back");
    (proxy, bench)
}

async fn expect_still_in_hand(bench: &Bench) {
    assert_eq!(bench.posts(), (1, 1));
    for gauge in ["courier_in_hand", "courier_unconfirmed"] {
        assert_eq!(bench.daemon.metric(gauge, &[]).await, 1.0, "{gauge}");
    }
    assert_eq!(bench.daemon.metric("courier_commands_finished_total", &[]).await, 0.0);
}

#[tokio::test]
async fn nothing_is_acknowledged_before_the_confirm() {
    let (_proxy, bench) = unconfirmed("unconfirmed-kill").await;
    expect_still_in_hand(&bench).await;
    bench.daemon.kill();
    // Whatever had been acknowledged would be lost now.
    let (client, commands) = (bench.queues.client(), bench.queues.name("commands"));
    let again = client.read_one(&commands, SOON).await;
    assert_eq!((again.json(), again.redelivered), (command("order-1", "Hello"), true));
    assert_eq!(bench.queues.events(1).await[0]["outcome"], "succeeded");
    assert_eq!(bench.posts(), (1, 1));
    bench.queues.expect_all_empty().await;
}

#[tokio::test]
async fn the_confirm_that_comes_late_is_enough() {
    let (proxy, bench) = unconfirmed("unconfirmed-late").await;
    expect_still_in_hand(&bench).await;
    proxy.resume().await;
    let in_hand = async || bench.daemon.metric("courier_in_hand", &[]).await;
    eventually!(SOON, in_hand().await, |count| *count == 0.0, "the end of the command");
    assert_eq!(bench.queues.events(1).await[0]["outcome"], "succeeded");
    assert_eq!(bench.posts(), (1, 1));
    bench.end().await;
}

#[tokio::test]
async fn a_connection_lost_before_the_confirm_loses_nothing_and_says_so() {
    let (proxy, bench) = unconfirmed("unconfirmed-cut").await;
    let before = proxy.accepted();
    proxy.cut();
    eventually!(SOON, proxy.accepted() >= before + 2, "both connections of the daemon again");
    proxy.resume().await;
    // The event of the first time, the same once more as nobody knew that it was stored, and that of the redelivery:
    // without a journal nobody knows of the first POST.
    let events = bench.queues.events(3).await;
    let [first, _, _] = events.as_slice() else { unreachable!("three were read") };
    let told =
        |event: &Value| json!([event["eventId"] == first["eventId"], event["outcome"], event["possibleDuplicate"]]);
    let told: Vec<_> = events.iter().map(told).collect();
    let (known, doubtful) = (json!([true, "succeeded", false]), json!([true, "succeeded", true]));
    assert_eq!(told, [known.clone(), known, doubtful]);
    assert_eq!(bench.posts(), (2, 2));
    bench.consumes(true).await;
    bench.end().await;
}

// --- Dead letters that nobody takes ---

/// A command that the API rejects, whose letter cannot be stored: the gate is closed, and all that follows waits.
async fn blocked(bench: &Bench, result: &str) {
    bench.queues.send(&command("bad", "[[status=400]]")).await;
    bench.gate_closed_by(&["blocked"]).await;
    bench.consumes(false).await;
    bench.queues.send(&command("good", "Hello")).await;
    let labels = [("target", "dead"), ("result", result)];
    let tries = async || bench.daemon.metric("courier_publishes_total", &labels).await;
    eventually!(SOON, tries().await, |tries| *tries >= 3.0, "more tries with the letter");
    assert_eq!(bench.posts(), (1, 0), "the letter is tried again, the request is not");
    let commands = bench.queues.name("commands");
    assert_eq!(bench.queues.client().depth(&commands).await, 1, "what came after it stays where it is");
    assert_eq!(bench.daemon.metric("courier_in_hand", &[]).await, 1.0);
}

/// All that was held up has come through, once.
async fn opened(bench: Bench) {
    let letter = bench.queues.dead_letters(1).await.swap_remove(0);
    assert_eq!((letter.key.as_str(), letter.json()), ("rejected", command("bad", "[[status=400]]")));
    let events = bench.queues.events(2).await;
    let told: Vec<_> = events.iter().map(|event| json!([event["commandId"], event["outcome"]])).collect();
    assert_eq!(told, [json!(["bad", "failed"]), json!(["good", "succeeded"])]);
    bench.gate_closed_by(&[]).await;
    assert_eq!(bench.posts(), (2, 1));
    bench.drained().await;
}

/// Neither the letters' queue is there nor the one that would take what cannot be routed.
async fn without_dead_queue(test: &str) -> Bench {
    let bench = Bench::new(test, &[]).await;
    for name in ["dead", "unroutable"] {
        bench.queues.client().delete_queue(&bench.queues.name(name)).await;
    }
    bench
}

#[tokio::test]
async fn a_letter_that_is_returned_closes_the_gate_until_its_queue_is_back() {
    let bench = without_dead_queue("dead-gone").await;
    blocked(&bench, "returned").await;
    let problem = &bench.daemon.report().await["gate"]["problems"]["blocked"];
    assert_eq!(*problem, "the broker returned the message: no queue is bound for it");
    let client = bench.queues.client();
    // In this order, as a letter that could go to neither must not go astray between the two.
    client.declare_queue(&bench.queues.name("dead"), "rejected", []).await;
    client.declare_queue(&bench.queues.name("unroutable"), "", []).await;
    opened(bench).await;
}

#[tokio::test]
async fn a_letter_that_is_refused_closes_the_gate_until_there_is_room() {
    let bench = Bench::new("dead-full", &[]).await;
    let (client, dead) = (bench.queues.client(), bench.queues.name("dead"));
    client.delete_queue(&dead).await;
    let full =
        [("x-overflow", AMQPValue::LongString("reject-publish".into())), ("x-max-length", AMQPValue::LongInt(1))];
    client.declare_queue(&dead, "rejected", full).await;
    let fill = async || client.try_publish(&dead, "rejected", b"filler", BasicProperties::default()).await;
    eventually!(SOON, fill().await, |published| *published == Published::Refused, "a full queue");

    blocked(&bench, "refused").await;
    let problem = &bench.daemon.report().await["gate"]["problems"]["blocked"];
    assert_eq!(*problem, "the broker refused the message: its queue is full or unavailable");
    let fillers = u16::try_from(client.depth(&dead).await).expect("a few");
    let taken = bench.queues.dead_letters(fillers).await;
    assert!(taken.iter().all(|message| message.body == b"filler"), "the letter waits outside");
    opened(bench).await;
}

#[tokio::test]
async fn a_crash_while_a_letter_waits_loses_neither_the_command_nor_the_ones_behind_it() {
    let bench = without_dead_queue("dead-crash").await;
    blocked(&bench, "returned").await;
    bench.daemon.kill();
    let commands = bench.queues.client().read(&bench.queues.name("commands"), 2, SOON).await;
    let mut ids: Vec<_> = commands.iter().map(|message| message.json()["commandId"].to_string()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [r#""bad""#, r#""good""#]);
    let events = bench.queues.events(1).await;
    assert_eq!((&events[0]["commandId"], &events[0]["outcome"]), (&json!("bad"), &json!("failed")));
    assert_eq!(bench.posts(), (1, 0));
}
