//! Figures that a test of everyday cannot have: what ten thousand commands cost while the token is refused, and how many
//! commands a second come back from a tier when they are all due at once.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use edna_courier::sandbox::{Options, ReceivedFilter};
use futures_util::future::try_join_all;
use lapin::{BasicProperties, Confirmation, options::BasicPublishOptions};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    setting::{keep_every_event, number},
    support::{
        OwnDir, SOON,
        broker::Broker,
        daemon::Daemon,
        eventually::eventually,
        message::with_headers,
        queues::Queues,
        stage::{Stage, start_ready},
    },
};

/// Until everything is told; only a broken run reaches it.
pub(crate) const LONG: Duration = Duration::from_secs(1_800);

/// Publishes that await their confirms together.
const BATCH: u32 = 1_000;

const LOOK_EVERY: Duration = Duration::from_millis(100);

fn body(index: u32) -> String {
    let device = format!("79{index:09}");
    json!({ "commandId": format!("c-{index}"), "text": "hello", "channelType": "WHATSAPP", "deviceAddress": device })
        .to_string()
}

/// Publishes so many commands as fast as it goes.
async fn publish(queues: &Queues, exchange: &str, commands: u32, properties: impl Fn() -> BasicProperties) {
    let channel = queues.client().confirming_channel().await;
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    for first in (0..commands).step_by(BATCH as usize) {
        let mut confirms = Vec::new();
        for index in first..commands.min(first + BATCH) {
            let (body, properties) = (body(index), properties().with_delivery_mode(2));
            let written = channel.basic_publish(exchange.into(), "send".into(), options, body.as_bytes(), properties);
            confirms.push(written.await.expect("written"));
        }
        let confirmed = try_join_all(confirms).await.expect("confirms");
        assert!(confirmed.iter().all(|confirmed| *confirmed == Confirmation::Ack(None)), "each is stored");
    }
}

/// How many messages the customers had got at which time, until there are `commands`.
struct Progress(Vec<(Duration, u64)>);

impl Progress {
    async fn watch(stage: &Stage, commands: u32) -> Self {
        let (began, mut looks, mut seen) = (Instant::now(), interval(LOOK_EVERY), Vec::new());
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while seen.last().is_none_or(|(_, accepted)| *accepted < u64::from(commands)) {
            looks.tick().await;
            seen.push((began.elapsed(), accepted(stage)));
            assert!(began.elapsed() < LONG, "{} of {commands} within {LONG:?}", accepted(stage));
        }
        Self(seen)
    }

    fn first(&self) -> Duration {
        let first = self.0.iter().find(|(_, accepted)| *accepted > self.0[0].1);
        first.map_or(Duration::ZERO, |(at, _)| *at)
    }

    fn last(&self) -> Duration {
        self.0.last().map_or(Duration::ZERO, |(at, _)| *at)
    }

    /// A second, over the second half of the commands.
    fn full_speed(&self) -> f64 {
        let all = self.0.last().map_or(0, |(_, accepted)| *accepted);
        let half = self.0.iter().find(|(_, accepted)| 2 * accepted >= all).expect("there is an end");
        (all - half.1) as f64 / (self.last() - half.0).as_secs_f64().max(LOOK_EVERY.as_secs_f64())
    }

    /// The end of the first second with at least four fifths of the full speed.
    fn reached_full_speed(&self) -> Duration {
        let wanted = 0.8 * self.full_speed();
        let second = 1 + (Duration::from_secs(1).as_millis() / LOOK_EVERY.as_millis()) as usize;
        let rate = |pair: &[(Duration, u64)]| {
            let (from, to) = (pair[0], pair[pair.len() - 1]);
            (to.1 - from.1) as f64 / (to.0 - from.0).as_secs_f64()
        };
        let fast = self.0.windows(second).find(|pair| rate(pair) >= wanted);
        fast.map_or(self.last(), |pair| pair[pair.len() - 1].0)
    }
}

fn accepted(stage: &Stage) -> u64 {
    stage.sandbox.received(&ReceivedFilter { limit: Some(0), ..ReceivedFilter::default() }).accepted
}

/// Insists that each command has its event, and tells how many there were.
async fn told(stage: &Stage, commands: u32) -> (usize, usize) {
    let mut tap = stage.queues.client().tap(&stage.queues.name("events")).await;
    let (mut told, mut events) = (BTreeSet::new(), 0);
    while told.len() < commands as usize {
        let event = tokio::time::timeout(SOON, tap.next()).await;
        let event = event.unwrap_or_else(|_| panic!("{} of {commands} told", told.len())).json();
        assert_eq!(event["outcome"], "succeeded", "{event}");
        told.insert(event["commandId"].as_str().expect("an id").to_owned());
        events += 1;
    }
    (told.len(), events)
}

/// The way that secret agents replace a file: at once.
fn replace(file: &Path, token: &str) {
    let new = file.with_extension("new");
    fs::write(&new, token).and_then(|()| fs::rename(new, file)).expect("a writable directory");
}

async fn attempts(daemon: &Daemon, verdict: &str) -> f64 {
    daemon.metric("courier_attempts_total", &[("verdict", verdict)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figure_of_a_refused_token() {
    const COMMANDS: u32 = 10_000;
    const REFUSED: Duration = Duration::from_secs(60);
    let broker = Broker::fresh().await;
    let stage =
        Stage::on(&broker, "figure-token", Options { keep: 0, token: Some("new".into()), ..Options::default() });
    let stage = stage.await;
    let secrets = OwnDir::new("edna-courier-figure-token");
    let file = secrets.path().join("token");
    replace(&file, "old");
    let daemon = start_ready(&stage.setup_without_token().set("api.token_file", &file.display().to_string())).await;
    publish(&stage.queues, &stage.queues.name("commands"), COMMANDS, BasicProperties::default).await;
    let refused = Instant::now();
    eventually!(REFUSED + SOON, refused.elapsed() >= REFUSED, "the end of a minute");
    let posts = stage.posts();
    stage.queues.client().expect_empty(&stage.queues.name("dead")).await;

    replace(&file, "new");
    let progress = Progress::watch(&stage, COMMANDS).await;
    let (told, events) = told(&stage, COMMANDS).await;
    stage.queues.client().expect_empty(&stage.queues.name("dead")).await;
    println!(
        "401 for {REFUSED:?}, {COMMANDS} commands waiting: {posts} POSTs and no dead letter meanwhile; after the new token \
         the first is delivered in {:.1?}, full speed ({:.0}/s) reached in {:.1?}, all in {:.1?}; {told} told by {events} \
         events; {} attempts unauthorized",
        progress.first(),
        progress.full_speed(),
        progress.reached_full_speed(),
        progress.last(),
        attempts(&daemon, "unauthorized").await,
    );
    stage.end(&daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figure_of_a_tier_that_is_due_at_once() {
    let commands =
        number("EDNA_COURIER_FIGURE_DUE").map_or(300_000, |due| u32::try_from(due).expect("a number of commands"));
    let broker = Broker::fresh().await;
    let stage = Stage::on(&broker, "figure-due", Options { keep: 0, ..Options::default() }).await;
    keep_every_event(&stage.queues).await;
    let tier = stage.queues.name("retry.10m");
    let daemon = start_ready(&stage.setup().set("delivery.tiers", "10m")).await;

    // As the daemon would write them after three attempts; each carries what is left until all are due.
    let due = Instant::now() + Duration::from_secs(30) + commands * Duration::from_micros(600);
    let first_seen = jiff::Timestamp::now().as_millisecond();
    let source = format!("{}/send", stage.queues.name("commands"));
    let headers: [(&str, Value); 3] =
        [("courier-attempt", json!(3)), ("courier-first-seen", json!(first_seen)), ("courier-source", json!(source))];
    let left_ms = || due.saturating_duration_since(Instant::now()).as_millis();
    let copy = || with_headers(headers.clone()).with_expiration(left_ms().to_string().into());
    publish(&stage.queues, &tier, commands, copy).await;
    assert!(left_ms() > 0 && stage.posts() == 0, "all wait before the first is due");
    println!("{commands} commands wait in a tier, due in {} ms", left_ms());
    eventually!(LONG, left_ms() == 0, "all of them due");

    let back = async {
        let (began, client) = (Instant::now(), stage.queues.client());
        eventually!(LONG, client.depth(&tier).await == 0, "an empty tier");
        began.elapsed()
    };
    let (progress, back) = tokio::join!(Progress::watch(&stage, commands), back);
    let (told, events) = told(&stage, commands).await;
    stage.queues.client().expect_empty(&stage.queues.name("dead")).await;
    println!(
        "{commands} commands due at once: the tier is empty after {back:.1?} ({:.0}/s), all are delivered after {:.1?} \
         ({:.0}/s); {told} told by {events} events; {} POSTs; resident memory {} MiB",
        f64::from(commands) / back.as_secs_f64(),
        progress.last(),
        f64::from(commands) / progress.last().as_secs_f64(),
        stage.posts(),
        daemon.rss_bytes() >> 20,
    );
    stage.end(&daemon).await;
}
