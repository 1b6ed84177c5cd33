//! Several addresses of the broker, one of which accepts connections and is of no use.

use std::time::Duration;

use super::{builder, wait_recovered};
use crate::support::{
    eventually::eventually,
    fixture::{Fixture, start_ready},
    proxy::Proxy,
};

/// Less than one try to connect to a silent address may take.
const SOON: Duration = Duration::from_secs(6);

/// Two addresses of the broker, and the list of both URLs.
async fn two_nodes(fixture: &Fixture) -> (Proxy, Proxy, String) {
    let broker = fixture.queues.broker();
    let [first, second] = [Proxy::amqp(broker.host_and_port()).await, Proxy::amqp(broker.host_and_port()).await];
    let urls = [&first, &second].map(|proxy| broker.url_at(proxy.address()));
    (first, second, urls.join(","))
}

#[tokio::test]
async fn silent_first_address_is_left_by_both_roles() {
    let fixture = Fixture::new("silent-node").await;
    let (first, second, urls) = two_nodes(&fixture).await;
    first.blackhole();
    let daemon = start_ready(&builder(&fixture).set("broker.url", &urls)).await;
    assert_eq!(second.open(), 2, "both connections use the second address");
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn lost_session_moves_on_to_the_next_address() {
    let fixture = Fixture::new("lost-node").await;
    let (first, second, urls) = two_nodes(&fixture).await;
    let daemon = start_ready(&builder(&fixture).set("broker.url", &urls)).await;
    assert_eq!((first.open(), second.open()), (2, 0));
    first.blackhole();
    first.cut();
    eventually!(SOON, second.open() == 2, "both connections at the second address");
    wait_recovered(&daemon).await;
    fixture.drain(&daemon).await;
}
