//! Two daemons with one queue and one journal in Redis: nothing is posted twice untold, and nothing unposted is in doubt.

use std::{collections::BTreeMap, time::Duration};

use edna_courier::sandbox::{Action, ReceivedFilter, Rule};

use crate::support::{
    TIMEOUT,
    daemon::{Daemon, DaemonBuilder},
    eventually::eventually,
    fixture::{Fixture, id, start_ready},
    redis::Redis,
};

/// Limit of concurrent attempts of each daemon; the prefetch is half as much again.
const IN_FLIGHT: u16 = 16;

/// An API that takes two seconds for each answer.
async fn slow_fixture(test: &str) -> Fixture {
    let fixture = Fixture::new(test).await;
    fixture.sandbox.script([Rule::new(Action::delay(Duration::from_secs(2))).forever()]).expect("room");
    fixture
}

fn builder(fixture: &Fixture, redis: &Redis) -> DaemonBuilder {
    let builder = fixture.builder().set("journal.kind", "redis").set("journal.redis_url", &redis.url());
    builder.set("limits.max_in_flight", &IN_FLIGHT.to_string()).set("delivery.on_uncertain", "park")
}

async fn wait_in_doubt(daemon: &Daemon, in_doubt: bool) {
    let metric = async || daemon.metric("courier_journal_in_doubt", &[]).await;
    eventually!(TIMEOUT, metric().await, |value| *value == f64::from(u8::from(in_doubt)), "the doubt");
}

/// The number of POSTs for each command.
fn posts_by_address(fixture: &Fixture) -> BTreeMap<String, u32> {
    let mut posts = BTreeMap::new();
    for request in fixture.sandbox.received(&ReceivedFilter::default()).requests {
        *posts.entry(request.device_address.expect("a valid request")).or_default() += 1;
    }
    posts
}

#[tokio::test]
async fn emptied_redis_posts_no_command_twice() {
    let redis = Redis::start();
    let fixture = slow_fixture("redis-emptied").await;
    let [one, other] = [start_ready(&builder(&fixture, &redis)).await, start_ready(&builder(&fixture, &redis)).await];
    // A new Redis is in doubt for the retention; deleting this key ends that.
    redis.cli(&["del", &format!("{}:journal:doubt", fixture.queues.prefix())]);
    wait_in_doubt(&one, false).await;
    wait_in_doubt(&other, false).await;
    // Each daemon begins with four attempts at once, and may get any of the commands after its first.
    fixture.send(4, "hello").await;
    eventually!(TIMEOUT, fixture.posts() == 4, "all in flight");
    redis.cli(&["flushall"]);
    one.kill();
    let events = fixture.queues.events(4).await;
    let outcomes: BTreeMap<_, _> = events.iter().map(|event| (id(event), event["outcome"].as_str())).collect();
    assert_eq!(outcomes.len(), 4, "one outcome for each command: {events:?}");
    let parked = events.iter().filter(|event| event["outcome"] == "uncertain" && event["possibleDuplicate"] == true);
    assert!(parked.count() >= 1, "those of the killed daemon: {events:?}");
    assert!(posts_by_address(&fixture).values().all(|posts| *posts == 1), "{:?}", posts_by_address(&fixture));
    wait_in_doubt(&other, true).await;
    assert!(other.status().await["journal_doubt"].as_str().expect("a text").contains("was emptied"));
    assert!(other.log_text().contains("the journal is in doubt: Redis held nothing"), "{}", other.log_text());
    fixture.drain(&other).await;
    let successor = start_ready(&builder(&fixture, &redis)).await;
    wait_in_doubt(&successor, true).await;
    fixture.drain(&successor).await;
}

#[tokio::test]
async fn daemons_drained_in_turn_leave_no_doubt() {
    let redis = Redis::start();
    let fixture = slow_fixture("redis-drained").await;
    let [one, other] = [start_ready(&builder(&fixture, &redis)).await, start_ready(&builder(&fixture, &redis)).await];
    wait_in_doubt(&one, true).await;
    fixture.send(120, "hello").await;
    eventually!(TIMEOUT, fixture.posts() >= 2 * u64::from(IN_FLIGHT), "both daemons at their limit");
    for daemon in [&one, &other] {
        daemon.signal("TERM");
        assert_eq!(daemon.wait_exit(TIMEOUT).await, 0);
    }
    let last = start_ready(&builder(&fixture, &redis)).await;
    let events = fixture.expect_all_succeeded(120).await;
    assert!(events.iter().all(|event| event["possibleDuplicate"] == false), "{events:?}");
    assert!(last.metric("courier_commands_received_total", &[("redelivered", "true")]).await >= 1.0);
    fixture.drain(&last).await;
}
