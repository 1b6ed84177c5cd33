//! Standard error is a full pipe without a reader: log lines are dropped and counted, and the daemon keeps working.

use std::time::Duration;

use futures_util::future::join_all;
use lapin::{BasicProperties, options::BasicPublishOptions};

use crate::support::{
    TIMEOUT,
    eventually::eventually,
    fixture::{Fixture, command, start_ready},
};

const COMMANDS: u16 = 2_000;
/// `delivery.drain`
const DRAIN: Duration = Duration::from_secs(10);

/// Publishes all commands; the API rejects every fourth.
async fn send_all(fixture: &Fixture) {
    let channel = fixture.queues.client().confirming_channel().await;
    let exchange = fixture.queues.name("commands");
    join_all((0..COMMANDS).map(async |index| {
        let body = command(index, if index % 4 == 0 { "hello [[status=400]]" } else { "hello" }).to_string();
        let (exchange, options) = (exchange.as_str().into(), BasicPublishOptions::default());
        let properties = BasicProperties::default().with_delivery_mode(2);
        let published = channel.basic_publish(exchange, "send".into(), options, body.as_bytes(), properties).await;
        published.expect("written").await.expect("confirmed");
    }))
    .await;
}

#[tokio::test]
async fn log_that_nobody_reads_stops_nothing() {
    let fixture = Fixture::new("unread-log").await;
    // At `trace` the lines of 2,000 commands exceed pipe and queue by far.
    let builder = fixture.builder().leave_log_unread().set("log.level", "trace").set("delivery.drain", "10s");
    let daemon = start_ready(&builder).await;
    send_all(&fixture).await;
    let finished = async |outcome| daemon.metric("courier_commands_finished_total", &[("outcome", outcome)]).await;
    let outcomes = async || (finished("succeeded").await, finished("failed").await);
    eventually!(4 * TIMEOUT, outcomes().await, |outcomes| *outcomes == (1_500.0, 500.0), "every outcome");
    assert!(daemon.metric("courier_log_lines_dropped_total", &[]).await > 0.0, "dropped lines are counted");
    for path in ["/livez", "/readyz"] {
        let (status, body) = daemon.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
    }
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(DRAIN).await, 0, "exit code of the daemon");
    let client = fixture.queues.client();
    client.expect_empty(&fixture.queues.name("commands")).await;
    let depth = async |queue: &str| client.depth(&fixture.queues.name(queue)).await;
    assert_eq!((depth("events").await, depth("dead").await), (2_000, 500));
}
