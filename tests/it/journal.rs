//! The journal: recorded commands are not posted again after crashes and redeliveries.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use edna_courier::sandbox::{Action, Options, ReceivedFilter, Rule};
use serde_json::Value;

use crate::support::{
    TIMEOUT,
    daemon::{Daemon, DaemonBuilder, log_field},
    eventually::eventually,
    fixture::{Fixture, command, id, start_ready, wait_not_ready, wait_ready},
    proxy::Proxy,
    redis::Redis,
};

/// Limit of concurrent attempts of each daemon.
const IN_FLIGHT: u16 = 16;
/// Number of kills.
const CRASHES: usize = 50;

/// Slow enough that a kill hits attempts in flight.
fn slow_api() -> Options {
    Options { latency: Duration::from_millis(5), jitter: Duration::from_millis(10), ..Options::default() }
}

fn builder(fixture: &Fixture, policy: &str) -> DaemonBuilder {
    let builder = fixture.builder().set("limits.max_in_flight", &IN_FLIGHT.to_string());
    builder.set("delivery.on_uncertain", policy).set("delivery.tiers", "200ms,1s")
}

/// Kills and restarts the daemons in turn, each time after a random number of POSTs.
async fn crash_repeatedly(fixture: &Fixture, builders: &[DaemonBuilder]) -> Vec<Daemon> {
    let mut daemons = Vec::new();
    for builder in builders {
        daemons.push(builder.start().await);
    }
    for crash in 0..CRASHES {
        let victim = crash % builders.len();
        let enough = fixture.posts() + 1 + fastrand::u64(..40);
        eventually!(TIMEOUT, fixture.posts() >= enough || fixture.queued().await == 0, "more POSTs");
        daemons[victim].kill();
        daemons[victim] = builders[victim].start().await;
    }
    daemons
}

/// The requests and events of one command.
#[derive(Debug, Default)]
struct Observed {
    posts: usize,
    outcomes: BTreeSet<String>,
    /// All its events have `possibleDuplicate`.
    possible_duplicate: bool,
}

/// Consumes events until each of the `n` commands has one, then counts the POSTs of each.
async fn observe(fixture: &Fixture, n: u16) -> BTreeMap<String, Observed> {
    let events_queue = fixture.queues.name("events");
    let mut observed = BTreeMap::<String, Observed>::new();
    let consume = async |count: u16, observed: &mut BTreeMap<String, Observed>| {
        for event in fixture.queues.events(count).await {
            let command = observed
                .entry(id(&event).to_owned())
                .or_insert_with(|| Observed { possible_duplicate: true, ..Observed::default() });
            command.outcomes.insert(event["outcome"].as_str().expect("an outcome").to_owned());
            command.possible_duplicate &= event["possibleDuplicate"] == true;
        }
    };
    while observed.len() < usize::from(n) {
        let missing: Vec<_> =
            (0..n).map(|i| format!("c-{i}")).filter(|id| !observed.contains_key(id)).take(20).collect();
        let depth = async || fixture.queues.client().depth(&events_queue).await;
        let depth = eventually!(TIMEOUT, depth().await, |depth| *depth > 0, format!("an event of one of {missing:?}"));
        consume(u16::try_from(depth.min(1_000)).expect("at most 1,000"), &mut observed).await;
    }
    for record in fixture.sandbox.received(&ReceivedFilter::default()).requests {
        let address = record.device_address.expect("a valid request");
        let index: u16 = address.trim_start_matches("7900").parse().expect("7900<index>");
        observed.entry(format!("c-{index}")).or_default().posts += 1;
    }
    observed
}

/// Sends `n` commands while the daemons crash; asserts the guarantees of the policy.
async fn check_crashes(fixture: &Fixture, builders: &[DaemonBuilder], policy: &str, n: u16) {
    // Declares the topology before commands are sent.
    drop(start_ready(&builders[0]).await);
    let (daemons, ()) = tokio::join!(crash_repeatedly(fixture, builders), fixture.send(n, "hello"));
    let observed = observe(fixture, n).await;
    assert_eq!(observed.len(), usize::from(n), "commands with an outcome");
    let parked = observed.values().filter(|command| command.outcomes.contains("uncertain")).count();
    for (id, command) in &observed {
        assert_eq!(command.outcomes.len(), 1, "{id}: one outcome in all events: {command:?}");
        match policy {
            "park" => assert!(command.posts <= 1, "{id} was posted twice: {command:?}"),
            _ => assert!(command.posts == 1 || (command.posts > 1 && command.possible_duplicate), "{id}: {command:?}"),
        }
    }
    if policy == "park" {
        assert!(parked <= CRASHES * usize::from(IN_FLIGHT), "{parked} parked commands");
        let letters = fixture.queues.client().depth(&fixture.queues.name("dead")).await;
        assert!(
            usize::try_from(letters).expect("a count") >= parked,
            "{letters} dead letters for {parked} parked commands"
        );
    } else {
        assert_eq!(parked, 0);
        fixture.queues.client().expect_empty(&fixture.queues.name("dead")).await;
    }
    let repeated = observed.values().filter(|command| command.posts > 1).count();
    println!("{policy}: {parked} of {n} parked, {repeated} posted more than once");
    for daemon in &daemons {
        daemon.signal("TERM");
        assert_eq!(daemon.wait_exit(TIMEOUT).await, 0);
    }
}

#[tokio::test]
async fn crash_with_park_never_posts_twice() {
    let fixture = Fixture::with("crash-park", slow_api()).await;
    let builder = builder(&fixture, "park");
    check_crashes(&fixture, &[builder], "park", 2_000).await;
}

#[tokio::test]
async fn crash_with_resend_reports_possible_duplicates() {
    let fixture = Fixture::with("crash-resend", slow_api()).await;
    let builder = builder(&fixture, "resend");
    check_crashes(&fixture, &[builder], "resend", 2_000).await;
}

/// Two daemons with one queue and one Redis. Commands that a killed daemon had started wait in the shortest tier until its
/// lease ends.
async fn check_redis_crashes(test: &str, policy: &str) {
    let redis = Redis::start();
    let fixture = Fixture::with(test, slow_api()).await;
    let builder = || {
        builder(&fixture, policy)
            .set("delivery.tiers", "1s,2s")
            .set("journal.kind", "redis")
            .set("journal.redis_url", &redis.url())
    };
    // A new Redis is in doubt for the retention; deleting this key ends that.
    drop(start_ready(&builder()).await);
    let doubt = format!("{}:journal:doubt", fixture.queues.prefix());
    assert_eq!(redis.cli(&["del", &doubt]).trim(), "1", "the mark of an incomplete journal exists");
    check_crashes(&fixture, &[builder(), builder()], policy, 2_000).await;
}

#[tokio::test]
async fn redis_crash_with_park_never_posts_twice() {
    check_redis_crashes("crash-redis-park", "park").await;
}

#[tokio::test]
async fn redis_crash_with_resend_reports_possible_duplicates() {
    check_redis_crashes("crash-redis-resend", "resend").await;
}

#[tokio::test]
async fn connection_lost_after_post_causes_no_second_post() {
    let fixture = Fixture::new("journal-cut").await;
    fixture.sandbox.script([Rule::new(Action::delay(Duration::from_millis(300))).forever()]).expect("room");
    let proxy = Proxy::tcp(fixture.queues.broker().host_and_port()).await;
    let url = fixture.queues.broker().url_at(proxy.address());
    let builder = builder(&fixture, "park").set("broker.url", &url);
    // A new journal counts as incomplete during the first run.
    fixture.drain(&start_ready(&builder).await).await;
    let daemon = start_ready(&builder).await;
    for round in 1..=5_u16 {
        for index in (round - 1) * 10..round * 10 {
            fixture.queues.send(&command(index, "hello")).await;
        }
        eventually!(TIMEOUT, fixture.posts() >= u64::from(round) * 10 - 5, "attempts in flight");
        proxy.cut();
        wait_ready(&daemon).await;
    }
    let observed = observe(&fixture, 50).await;
    for (id, command) in &observed {
        assert_eq!(
            (command.posts, command.outcomes.iter().next().map(String::as_str)),
            (1, Some("succeeded")),
            "{id}: {command:?}"
        );
        assert!(!command.possible_duplicate, "{id}: the journal proves one POST: {command:?}");
    }
    // The last acks may be lost with a connection; those deliveries come back once it consumes again.
    wait_ready(&daemon).await;
    eventually!(TIMEOUT, daemon.metric("courier_in_hand", &[]).await == 0.0, "no command in hand");
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(TIMEOUT).await, 0);
}

#[tokio::test]
async fn command_published_twice_is_posted_once() {
    let fixture = Fixture::new("journal-twice").await;
    let builder = builder(&fixture, "resend");
    let daemon = start_ready(&builder).await;
    fixture.send(1, "hello").await;
    let first = fixture.queues.events(1).await.remove(0);
    fixture.drain(&daemon).await;
    let daemon = start_ready(&builder).await;
    fixture.send(1, "hello").await;
    let second = fixture.queues.events(1).await.remove(0);
    assert_eq!((&first["repeated"], &second["repeated"]), (&Value::Bool(false), &Value::Bool(true)));
    for field in ["eventId", "outcome", "occurredAt", "response", "attempts"] {
        assert_eq!(first[field], second[field], "{field}");
    }
    assert_eq!(fixture.posts(), 1);
    // Counted once the broker has confirmed the event, which may have arrived before.
    eventually!(TIMEOUT, daemon.metric("courier_repeats_total", &[]).await == 1.0, "one repeat");
    assert!(daemon.metric("courier_journal_entries", &[]).await >= 1.0);
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn second_daemon_on_same_journal_dir_is_refused() {
    let fixture = Fixture::new("journal-lock").await;
    let builder = builder(&fixture, "park");
    let first = start_ready(&builder).await;
    let second = builder.spawn();
    assert_eq!(second.wait_exit(TIMEOUT).await, 1);
    let log = second.log_text();
    assert!(log.contains("edna-courier-journal is in use by another daemon"), "{log}");
    fixture.drain(&first).await;
}

#[tokio::test]
async fn separate_journals_on_one_queue_log_a_warning() {
    let fixture = Fixture::new("journal-others").await;
    // Another daemon is known as such after three heartbeats.
    let url = format!("{}?heartbeat=2", fixture.queues.broker().url());
    let start = async || start_ready(&builder(&fixture, "park").set("broker.url", &url)).await;
    let (one, other) = (start().await, start().await);
    let warned = |daemon: &Daemon| {
        let logged = |line: &Value| {
            log_field(line, "problem").is_some_and(|p| p.to_string().contains("the queue has 2 consumers"))
        };
        daemon.log().iter().any(logged)
    };
    eventually!(TIMEOUT, warned(&one) && warned(&other), "a warning from both");
    assert_eq!(one.metric("courier_consumers", &[]).await, 2.0);
    fixture.drain(&other).await;
    fixture.drain(&one).await;
}

#[tokio::test]
async fn cancelled_subscriptions_hide_no_other_daemon() {
    let fixture = Fixture::new("journal-cancelled").await;
    let url = format!("{}?heartbeat=2", fixture.queues.broker().url());
    let start = async || {
        let builder = builder(&fixture, "park").set("broker.url", &url);
        start_ready(&builder.set("limits.per_second", "0.001")).await
    };
    let one = start().await;
    // All for this daemon, with a prefetch of 24.
    fixture.send(24, "hello").await;
    // The first subscriptions take 1 and 16. They are cancelled, and the broker counts them while their deliveries wait.
    eventually!(TIMEOUT, one.metric("courier_in_hand", &[]).await, |in_hand| *in_hand >= 20.0, "the third one");
    let _other = start().await;
    let is_known = || one.log_text().contains("the queue has 2 consumers");
    eventually!(TIMEOUT, is_known(), "a warning of the other daemon");
    assert_eq!(one.metric("courier_consumers", &[]).await, 2.0);
}

#[tokio::test]
async fn consumer_of_lost_connection_is_no_other_daemon() {
    let fixture = Fixture::new("journal-own-past").await;
    let broker = fixture.queues.broker();
    let proxy = Proxy::tcp(broker.host_and_port()).await;
    // The broker notices the loss after two to three heartbeats.
    let url = format!("{}?heartbeat=12", broker.url_at(proxy.address()));
    let daemon = start_ready(&builder(&fixture, "park").set("broker.url", &url)).await;
    proxy.lose();
    let consumers = async || daemon.metric("courier_consumers", &[]).await;
    eventually!(TIMEOUT, consumers().await, |count| *count == 2.0, "the lost consumer is counted");
    eventually!(2 * TIMEOUT, consumers().await, |count| *count == 1.0, "the broker noticed the loss");
    assert!(!daemon.log_text().contains("the queue has"), "no doubt: {}", daemon.log_text());
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn missing_journal_dir_closes_gate_until_restored() {
    let fixture = Fixture::new("journal-gone").await;
    let builder = builder(&fixture, "park");
    let daemon = start_ready(&builder).await;
    let (dir, backup) = (builder.dir().join("edna-courier-journal"), builder.dir().join("backup"));
    fs::create_dir(&backup).expect("a writable directory");
    for file in fs::read_dir(&dir).expect("the journal directory").map(|file| file.expect("a file")) {
        fs::copy(file.path(), backup.join(file.file_name())).expect("copied");
    }
    fs::remove_dir_all(&dir).expect("a writable directory");
    wait_not_ready(&daemon, &["journal: "]).await;
    fixture.send(5, "hello").await;
    assert_eq!(fixture.posts(), 0, "no POST without a journal");
    fs::rename(&backup, &dir).expect("a writable directory");
    fixture.expect_all_succeeded(5).await;
    wait_ready(&daemon).await;
    fixture.drain(&daemon).await;
}
