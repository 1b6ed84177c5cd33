//! Measurements: the cost of 10,000 queued commands while the token is refused, and the rate at which commands return from a
//! tier when all are due at once.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use edna_courier::sandbox::{Options, ReceivedFilter};
use futures_util::future::try_join_all;
use lapin::{BasicProperties, Confirmation, options::BasicPublishOptions};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    config::{env_number, keep_all_events},
    support::{
        TIMEOUT, TempDir,
        broker::Broker,
        daemon::Daemon,
        eventually::eventually,
        fixture::{Fixture, start_ready},
        message::with_headers,
        queues::Queues,
    },
};

/// Deadline that only a broken run reaches.
pub(crate) const RUN_TIMEOUT: Duration = Duration::from_secs(1_800);

/// Publishes in flight before their confirms are awaited.
const BATCH: u32 = 1_000;

const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

fn body(index: u32) -> String {
    let device = format!("79{index:09}");
    json!({ "commandId": format!("c-{index}"), "text": "hello", "channelType": "WHATSAPP", "deviceAddress": device })
        .to_string()
}

/// Publishes this many commands, as fast as confirms allow.
async fn publish(queues: &Queues, exchange: &str, commands: u32, properties: impl Fn() -> BasicProperties) {
    let channel = queues.client().confirming_channel().await;
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    for first in (0..commands).step_by(BATCH as usize) {
        let mut confirms = Vec::new();
        for index in first..commands.min(first + BATCH) {
            let (body, properties) = (body(index), properties().with_delivery_mode(2));
            let published = channel.basic_publish(exchange.into(), "send".into(), options, body.as_bytes(), properties);
            confirms.push(published.await.expect("written"));
        }
        let confirmed = try_join_all(confirms).await.expect("confirms");
        assert!(confirmed.iter().all(|confirmed| *confirmed == Confirmation::Ack(None)), "every command is stored");
    }
}

/// The number of accepted requests over time.
struct Progress(Vec<(Duration, u64)>);

impl Progress {
    /// Samples until `commands` requests are accepted.
    async fn watch(fixture: &Fixture, commands: u32) -> Self {
        let (started, mut ticks, mut samples) = (Instant::now(), interval(SAMPLE_INTERVAL), Vec::new());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while samples.last().is_none_or(|(_, accepted)| *accepted < u64::from(commands)) {
            ticks.tick().await;
            samples.push((started.elapsed(), accepted(fixture)));
            assert!(
                started.elapsed() < RUN_TIMEOUT,
                "{} of {commands} accepted after {RUN_TIMEOUT:?}",
                accepted(fixture)
            );
        }
        Self(samples)
    }

    /// The time of the first accepted request.
    fn first(&self) -> Duration {
        let first = self.0.iter().find(|(_, accepted)| *accepted > self.0[0].1);
        first.map_or(Duration::ZERO, |(at, _)| *at)
    }

    /// The time of the last accepted request.
    fn last(&self) -> Duration {
        self.0.last().map_or(Duration::ZERO, |(at, _)| *at)
    }

    /// Accepted requests per second over the second half of the commands.
    fn full_speed(&self) -> f64 {
        let all = self.0.last().map_or(0, |(_, accepted)| *accepted);
        let half = self.0.iter().find(|(_, accepted)| 2 * accepted >= all).expect("a last sample");
        (all - half.1) as f64 / (self.last() - half.0).as_secs_f64().max(SAMPLE_INTERVAL.as_secs_f64())
    }

    /// The end of the first second with at least 80 % of the full speed.
    fn reached_full_speed(&self) -> Duration {
        let threshold = 0.8 * self.full_speed();
        let window = 1 + (Duration::from_secs(1).as_millis() / SAMPLE_INTERVAL.as_millis()) as usize;
        let rate = |pair: &[(Duration, u64)]| {
            let (from, to) = (pair[0], pair[pair.len() - 1]);
            (to.1 - from.1) as f64 / (to.0 - from.0).as_secs_f64()
        };
        let fast = self.0.windows(window).find(|pair| rate(pair) >= threshold);
        fast.map_or(self.last(), |pair| pair[pair.len() - 1].0)
    }
}

fn accepted(fixture: &Fixture) -> u64 {
    fixture.sandbox.received(&ReceivedFilter { limit: Some(0), ..ReceivedFilter::default() }).accepted
}

/// Waits until each command has an event; returns the numbers of commands and events.
async fn await_events(fixture: &Fixture, commands: u32) -> (usize, usize) {
    let mut subscription = fixture.queues.client().subscribe(&fixture.queues.name("events")).await;
    let (mut finished, mut events) = (BTreeSet::new(), 0);
    while finished.len() < commands as usize {
        let event = tokio::time::timeout(TIMEOUT, subscription.next()).await;
        let event = event.unwrap_or_else(|_| panic!("{} of {commands} commands have an event", finished.len())).json();
        assert_eq!(event["outcome"], "succeeded", "{event}");
        finished.insert(event["commandId"].as_str().expect("an id").to_owned());
        events += 1;
    }
    (finished.len(), events)
}

/// Replaces the file atomically, as secret agents do.
fn replace(file: &Path, token: &str) {
    let new = file.with_extension("new");
    fs::write(&new, token).and_then(|()| fs::rename(new, file)).expect("a writable directory");
}

async fn attempts(daemon: &Daemon, verdict: &str) -> f64 {
    daemon.metric("courier_attempts_total", &[("verdict", verdict)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figure_refused_token() {
    const COMMANDS: u32 = 10_000;
    const REFUSED: Duration = Duration::from_secs(60);
    let broker = Broker::start_private().await;
    let fixture =
        Fixture::on(&broker, "figure-token", Options { keep: 0, token: Some("new".into()), ..Options::default() });
    let fixture = fixture.await;
    let secrets = TempDir::new("edna-courier-figure-token");
    let file = secrets.path().join("token");
    replace(&file, "old");
    let daemon = start_ready(&fixture.builder_without_token().set("api.token_file", &file.display().to_string())).await;
    publish(&fixture.queues, &fixture.queues.name("commands"), COMMANDS, BasicProperties::default).await;
    let started = Instant::now();
    eventually!(REFUSED + TIMEOUT, started.elapsed() >= REFUSED, "the end of the refusal");
    let posts = fixture.posts();
    fixture.queues.client().expect_empty(&fixture.queues.name("dead")).await;

    replace(&file, "new");
    let progress = Progress::watch(&fixture, COMMANDS).await;
    let (finished, events) = await_events(&fixture, COMMANDS).await;
    fixture.queues.client().expect_empty(&fixture.queues.name("dead")).await;
    println!(
        "HTTP 401 for {REFUSED:?} with {COMMANDS} commands queued: {posts} POSTs, no dead letter; after the token changed, the \
         first command delivered after {:.1?}, full speed ({:.0}/s) after {:.1?}, all after {:.1?}; {events} events for \
         {finished} commands; {} unauthorized attempts",
        progress.first(),
        progress.full_speed(),
        progress.reached_full_speed(),
        progress.last(),
        attempts(&daemon, "unauthorized").await,
    );
    fixture.drain(&daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figure_tier_due_at_once() {
    let commands =
        env_number("EDNA_COURIER_FIGURE_DUE").map_or(300_000, |due| u32::try_from(due).expect("a number of commands"));
    let broker = Broker::start_private().await;
    let fixture = Fixture::on(&broker, "figure-due", Options { keep: 0, ..Options::default() }).await;
    keep_all_events(&fixture.queues).await;
    let tier = fixture.queues.name("retry.10m");
    let daemon = start_ready(&fixture.builder().set("delivery.tiers", "10m")).await;

    // The copies of the daemon after three attempts; each expires when all are due.
    let due = Instant::now() + Duration::from_secs(30) + commands * Duration::from_micros(600);
    let first_seen = jiff::Timestamp::now().as_millisecond();
    let source = format!("{}/send", fixture.queues.name("commands"));
    let headers: [(&str, Value); 3] =
        [("courier-attempt", json!(3)), ("courier-first-seen", json!(first_seen)), ("courier-source", json!(source))];
    let left_ms = || due.saturating_duration_since(Instant::now()).as_millis();
    let copy = || with_headers(headers.clone()).with_expiration(left_ms().to_string().into());
    publish(&fixture.queues, &tier, commands, copy).await;
    assert!(left_ms() > 0 && fixture.posts() == 0, "all are queued before the first is due");
    println!("{commands} commands in a tier, due in {} ms", left_ms());
    eventually!(RUN_TIMEOUT, left_ms() == 0, "all commands are due");

    let emptied = async {
        let (started, client) = (Instant::now(), fixture.queues.client());
        eventually!(RUN_TIMEOUT, client.depth(&tier).await == 0, "an empty tier");
        started.elapsed()
    };
    let (progress, emptied) = tokio::join!(Progress::watch(&fixture, commands), emptied);
    let (finished, events) = await_events(&fixture, commands).await;
    fixture.queues.client().expect_empty(&fixture.queues.name("dead")).await;
    println!(
        "{commands} commands due at once: the tier is empty after {emptied:.1?} ({:.0}/s), all are delivered after {:.1?} \
         ({:.0}/s); {events} events for {finished} commands; {} POSTs; resident memory {} MiB",
        f64::from(commands) / emptied.as_secs_f64(),
        progress.last(),
        f64::from(commands) / progress.last().as_secs_f64(),
        fixture.posts(),
        daemon.rss_bytes() >> 20,
    );
    fixture.drain(&daemon).await;
}
