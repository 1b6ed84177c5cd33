use lapin::{BasicProperties, ExchangeKind};
use serde_json::json;

use crate::support::{
    SOON, broker::Broker, client::Client, client::Published, eventually::eventually, message, queues::Queues,
};

#[tokio::test]
async fn a_message_comes_back_as_it_was_published() {
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
async fn reading_takes_as_many_as_asked_and_leaves_the_rest_untouched() {
    let queues = Queues::new("exactly-n").await;
    let commands = queues.declare("commands", ExchangeKind::Direct, "send").await;
    for number in 1..=5 {
        queues.send(&json!({ "number": number })).await;
    }
    let read = queues.client().read(&commands, 3, SOON).await;
    assert_eq!(read.iter().map(|message| message.json()["number"].clone()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(queues.client().depth(&commands).await, 2);
    let fourth = queues.client().read_one(&commands, SOON).await;
    assert_eq!((fourth.json(), fourth.redelivered), (json!({ "number": 4 }), false));
}

#[tokio::test]
async fn listeners_hear_what_is_published_after_them() {
    let queues = Queues::new("listen").await;
    let events = queues.declare("events", ExchangeKind::Topic, "#").await;
    let succeeded = queues.client().listen(&events, "send.succeeded.*").await;
    for (key, body) in [("send.failed.SMS", "1"), ("send.succeeded.SMS", "2")] {
        queues.client().publish(&events, key, body.as_bytes(), BasicProperties::default()).await;
    }
    assert_eq!(queues.client().read_one(&succeeded, SOON).await.json(), 2);
    assert_eq!(queues.events(2).await, [1, 2]);
}

#[tokio::test]
async fn a_publish_that_no_queue_takes_is_told_apart() {
    let queues = Queues::new("returned").await;
    let commands = queues.declare("commands", ExchangeKind::Direct, "send").await;
    let publish = async |key: &str| queues.client().try_publish(&commands, key, b"", BasicProperties::default()).await;
    assert_eq!(publish("nobody").await, Published::Returned);
    assert_eq!(publish("send").await, Published::Stored);
}

#[tokio::test]
async fn everything_is_deleted_at_the_end_of_a_test() {
    let queues = Queues::new("deleted").await;
    let own = queues.declare("retry.100ms", ExchangeKind::Fanout, "").await;
    let client = Client::connect(Broker::shared().await.url()).await;
    assert_eq!(client.depth(&own).await, 0, "it is there");
    drop(queues);
    let gone = async || client.exists(&own).await;
    eventually!(SOON, !gone().await, "the queue's deletion");
}
