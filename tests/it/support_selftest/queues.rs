//! The AMQP client and the queues of a test.

use lapin::{BasicProperties, ExchangeKind};
use serde_json::json;

use crate::support::{
    TIMEOUT, broker::Broker, client::Client, client::PublishResult, eventually::eventually, message, queues::Queues,
};

#[tokio::test]
async fn client_message_round_trip_is_identical() {
    let queues = Queues::new("round-trip").await;
    let dead = queues.declare("dead", ExchangeKind::Direct, "rejected").await;
    let client = queues.client();
    let headers = [("courier-attempt", json!(3)), ("courier-reason", json!("rejected")), ("flag", json!(true))];
    let properties = message::with_headers(headers.clone()).with_message_id("m-1".into());
    client.publish(&dead, "rejected", b"\x00\xffbytes", properties).await;
    assert_eq!(client.depth(&dead).await, 1);

    let letter = queues.dead_letters(1).await.swap_remove(0);
    assert_eq!(letter.body, b"\x00\xffbytes");
    assert_eq!((letter.exchange, letter.key, letter.redelivered), (dead.clone(), "rejected".to_owned(), false));
    assert_eq!(letter.headers, headers.map(|(name, value)| (name.to_owned(), value)).into());
    assert_eq!(letter.properties.message_id().as_ref().map(ToString::to_string), Some("m-1".to_owned()));
    client.expect_empty(&dead).await;
}

#[tokio::test]
async fn client_read_n_leaves_the_rest_untouched() {
    let queues = Queues::new("exactly-n").await;
    let commands = queues.declare("commands", ExchangeKind::Direct, "send").await;
    for number in 1..=5 {
        queues.send(&json!({ "number": number })).await;
    }
    let read = queues.client().read(&commands, 3, TIMEOUT).await;
    assert_eq!(read.iter().map(|message| message.json()["number"].clone()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(queues.client().depth(&commands).await, 2);
    let fourth = queues.client().read_one(&commands, TIMEOUT).await;
    assert_eq!((fourth.json(), fourth.redelivered), (json!({ "number": 4 }), false));
}

#[tokio::test]
async fn bound_queue_receives_later_publishes() {
    let queues = Queues::new("listen").await;
    let events = queues.declare("events", ExchangeKind::Topic, "#").await;
    let succeeded = queues.client().bind_exclusive_queue(&events, "send.succeeded.*").await;
    for (key, body) in [("send.failed.SMS", "1"), ("send.succeeded.SMS", "2")] {
        queues.client().publish(&events, key, body.as_bytes(), BasicProperties::default()).await;
    }
    assert_eq!(queues.client().read_one(&succeeded, TIMEOUT).await.json(), 2);
    assert_eq!(queues.events(2).await, [1, 2]);
}

#[tokio::test]
async fn publish_without_queue_is_returned() {
    let queues = Queues::new("returned").await;
    let commands = queues.declare("commands", ExchangeKind::Direct, "send").await;
    let publish = async |key: &str| queues.client().try_publish(&commands, key, b"", BasicProperties::default()).await;
    assert_eq!(publish("unbound").await, PublishResult::Returned);
    assert_eq!(publish("send").await, PublishResult::Confirmed);
}

#[tokio::test]
async fn queues_drop_deletes_all_objects() {
    let queues = Queues::new("deleted").await;
    let own = queues.declare("retry.100ms", ExchangeKind::Fanout, "").await;
    let client = Client::connect(Broker::shared().await.url()).await;
    assert_eq!(client.depth(&own).await, 0, "the queue exists");
    drop(queues);
    let exists = async || client.exists(&own).await;
    eventually!(TIMEOUT, !exists().await, "the queue is deleted");
}
