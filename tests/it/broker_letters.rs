//! Dead letters that the broker writes by itself, as the contract page describes them.

use lapin::BasicProperties;

use crate::support::fixture::{Fixture, command, start_ready};

#[tokio::test]
async fn message_ttl_ends_in_a_letter_of_the_broker() {
    let fixture = Fixture::new("message-ttl").await;
    let daemon = start_ready(&fixture.builder()).await;
    fixture.drain(&daemon).await;

    let (client, commands) = (fixture.queues.client(), fixture.queues.name("commands"));
    let body = command(0, "hello").to_string().into_bytes();
    client.publish(&commands, "send", &body, BasicProperties::default().with_expiration("100".into())).await;
    let letter = fixture.queues.dead_letters(1).await.swap_remove(0);
    assert_eq!((letter.key.as_str(), &letter.body), ("poison", &body));
    assert_eq!(letter.headers["x-first-death-reason"], "expired");
    assert_eq!(letter.headers["x-first-death-queue"], commands.as_str());
    assert_eq!(letter.headers["x-death"][0]["reason"], "expired");
    assert!(!letter.headers.contains_key("courier-reason"), "{letter:?}");
    client.expect_empty(&fixture.queues.name("events")).await;
    assert_eq!(fixture.posts(), 0);
}
