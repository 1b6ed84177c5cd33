//! The journal at work: what is on record is not sent again, whoever dies when.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use edna_courier::sandbox::{Action, Options, ReceivedFilter, Rule};
use serde_json::Value;

use crate::support::{
    SOON,
    daemon::{Daemon, Setup, field},
    eventually::eventually,
    proxy::Proxy,
    redis::Redis,
    stage::{Stage, command, id, not_ready, ready, start_ready},
};

/// Attempts at once of each daemon.
const IN_FLIGHT: u16 = 16;
/// How often a daemon dies.
const DEATHS: usize = 50;

/// Slow enough that a death meets attempts under way.
fn slowish() -> Options {
    Options { latency: Duration::from_millis(5), jitter: Duration::from_millis(10), ..Options::default() }
}

fn setup(stage: &Stage, policy: &str) -> Setup {
    let setup = stage.setup().set("limits.max_in_flight", &IN_FLIGHT.to_string());
    setup.set("delivery.on_uncertain", policy).set("delivery.tiers", "200ms,1s")
}

/// Lets one of the daemons after the other work for a moment and kills it in the middle of it, and starts it again.
async fn die_again_and_again(stage: &Stage, setups: &[Setup]) -> Vec<Daemon> {
    let mut daemons = Vec::new();
    for setup in setups {
        daemons.push(setup.start().await);
    }
    for death in 0..DEATHS {
        let victim = death % setups.len();
        let enough = stage.posts() + 1 + fastrand::u64(..40);
        eventually!(SOON, stage.posts() >= enough || stage.waiting().await == 0, "commands that flow");
        daemons[victim].kill();
        daemons[victim] = setups[victim].start().await;
    }
    daemons
}

/// What the API and the listeners saw of each command.
#[derive(Debug, Default)]
struct Seen {
    posts: usize,
    outcomes: BTreeSet<String>,
    admitted: bool,
    events: usize,
}

/// Takes all events until each of the `n` commands has one and nothing more comes.
async fn account(stage: &Stage, n: u16) -> BTreeMap<String, Seen> {
    let events_queue = stage.queues.name("events");
    let mut seen = BTreeMap::<String, Seen>::new();
    let take = async |more: u16, seen: &mut BTreeMap<String, Seen>| {
        for event in stage.queues.events(more).await {
            let of = seen.entry(id(&event).to_owned()).or_insert_with(|| Seen { admitted: true, ..Seen::default() });
            of.outcomes.insert(event["outcome"].as_str().expect("an outcome").to_owned());
            of.admitted &= event["possibleDuplicate"] == true;
            of.events += 1;
        }
    };
    while seen.len() < usize::from(n) {
        let depth = stage.queues.client().depth(&events_queue).await;
        take(u16::try_from(depth.clamp(1, 1_000)).expect("few"), &mut seen).await;
    }
    for record in stage.sandbox.received(&ReceivedFilter::default()).requests {
        let address = record.device_address.expect("a good request");
        let index: u16 = address.trim_start_matches("7900").parse().expect("a device of ours");
        seen.entry(format!("c-{index}")).or_default().posts += 1;
    }
    seen
}

async fn dies_and_loses_nothing(stage: &Stage, setups: &[Setup], policy: &str, n: u16) {
    // The topology is there before anything is sent.
    drop(start_ready(&setups[0]).await);
    let (daemons, ()) = tokio::join!(die_again_and_again(stage, setups), stage.send(n, "hello"));
    let seen = account(stage, n).await;
    assert_eq!(seen.len(), usize::from(n), "every command has an outcome");
    let parked = seen.values().filter(|seen| seen.outcomes.contains("uncertain")).count();
    for (id, seen) in &seen {
        assert_eq!(seen.outcomes.len(), 1, "{id}: one outcome, however often it is told: {seen:?}");
        match policy {
            "park" => assert!(seen.posts <= 1, "{id} was sent twice: {seen:?}"),
            _ => assert!(seen.posts == 1 || (seen.posts > 1 && seen.admitted), "{id}: {seen:?}"),
        }
    }
    if policy == "park" {
        assert!(parked <= DEATHS * usize::from(IN_FLIGHT), "{parked} are parked");
        let letters = stage.queues.client().depth(&stage.queues.name("dead")).await;
        assert!(usize::try_from(letters).expect("few") >= parked, "{letters} dead letters for {parked}");
    } else {
        assert_eq!(parked, 0);
        stage.queues.client().expect_empty(&stage.queues.name("dead")).await;
    }
    println!("{policy}: {parked} of {n} parked, {} sent twice", seen.values().filter(|seen| seen.posts > 1).count());
    for daemon in &daemons {
        daemon.signal("TERM");
        assert_eq!(daemon.wait_exit(SOON).await, 0);
    }
}

#[tokio::test]
async fn killed_again_and_again_it_never_sends_twice_what_is_to_be_parked() {
    let stage = Stage::with("crash-park", slowish()).await;
    let setup = setup(&stage, "park");
    dies_and_loses_nothing(&stage, &[setup], "park", 2_000).await;
}

#[tokio::test]
async fn killed_again_and_again_it_says_what_may_have_been_sent_twice() {
    let stage = Stage::with("crash-resend", slowish()).await;
    let setup = setup(&stage, "resend");
    dies_and_loses_nothing(&stage, &[setup], "resend", 2_000).await;
}

/// Two daemons on one queue and one Redis. What a dead one had begun waits in the shortest tier until its lease ends.
async fn two_that_share_a_journal_die(test: &str, policy: &str) {
    let redis = Redis::start();
    let stage = Stage::with(test, slowish()).await;
    let one = || {
        let setup = setup(&stage, policy).set("delivery.tiers", "1s,2s");
        setup.set("journal.kind", "redis").set("journal.redis_url", &redis.url())
    };
    // For an hour a Redis that was not known before is not trusted to know everything: that hour is over here.
    drop(start_ready(&one()).await);
    let doubt = format!("{}:journal:doubt", stage.queues.prefix());
    assert_eq!(redis.cli(&["del", &doubt]).trim(), "1", "it was there");
    dies_and_loses_nothing(&stage, &[one(), one()], policy, 2_000).await;
}

#[tokio::test]
async fn two_on_one_redis_never_send_twice_what_is_to_be_parked() {
    two_that_share_a_journal_die("crash-redis-park", "park").await;
}

#[tokio::test]
async fn two_on_one_redis_say_what_may_have_been_sent_twice() {
    two_that_share_a_journal_die("crash-redis-resend", "resend").await;
}

#[tokio::test]
async fn connections_that_break_right_after_the_post_cause_no_second_one() {
    let stage = Stage::new("journal-cut").await;
    stage.sandbox.script([Rule::new(Action::delay(Duration::from_millis(300))).forever()]).expect("room");
    let proxy = Proxy::tcp(stage.queues.broker().host_and_port()).await;
    let url = stage.queues.broker().url_at(proxy.address());
    let setup = setup(&stage, "park").set("broker.url", &url);
    // A journal that has just been made does not know what was before it.
    stage.end(&start_ready(&setup).await).await;
    let daemon = start_ready(&setup).await;
    for round in 1..=5_u16 {
        for index in (round - 1) * 10..round * 10 {
            stage.queues.send(&command(index, "hello")).await;
        }
        eventually!(SOON, stage.posts() >= u64::from(round) * 10 - 5, "attempts under way");
        proxy.cut();
        ready(&daemon).await;
    }
    let seen = account(&stage, 50).await;
    for (id, seen) in &seen {
        assert_eq!(
            (seen.posts, seen.outcomes.iter().next().map(String::as_str)),
            (1, Some("succeeded")),
            "{id}: {seen:?}"
        );
        assert!(!seen.admitted, "{id}: it was sent once, and the journal knows: {seen:?}");
    }
    // Until it consumes again, nobody can say whether the last acknowledgements were read.
    ready(&daemon).await;
    eventually!(SOON, daemon.metric("courier_in_hand", &[]).await == 0.0, "all of it settled");
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(SOON).await, 0);
}

#[tokio::test]
async fn the_same_command_published_twice_is_sent_once_and_told_twice() {
    let stage = Stage::new("journal-twice").await;
    let setup = setup(&stage, "resend");
    let daemon = start_ready(&setup).await;
    stage.send(1, "hello").await;
    let first = stage.queues.events(1).await.remove(0);
    stage.end(&daemon).await;
    let daemon = start_ready(&setup).await;
    stage.send(1, "hello").await;
    let second = stage.queues.events(1).await.remove(0);
    assert_eq!((&first["repeated"], &second["repeated"]), (&Value::Bool(false), &Value::Bool(true)));
    for part in ["eventId", "outcome", "occurredAt", "response", "attempts"] {
        assert_eq!(first[part], second[part], "{part}");
    }
    assert_eq!(stage.posts(), 1);
    assert_eq!(daemon.metric("courier_repeats_total", &[]).await, 1.0);
    assert!(daemon.metric("courier_journal_entries", &[]).await >= 1.0);
    stage.end(&daemon).await;
}

#[tokio::test]
async fn a_second_daemon_on_the_same_directory_is_refused() {
    let stage = Stage::new("journal-lock").await;
    let setup = setup(&stage, "park");
    let first = start_ready(&setup).await;
    let second = setup.spawn();
    assert_eq!(second.wait_exit(SOON).await, 1);
    let told = second.log_text();
    assert!(told.contains("edna-courier-journal is in use by another daemon"), "{told}");
    stage.end(&first).await;
}

#[tokio::test]
async fn several_daemons_with_journals_of_their_own_are_warned_of() {
    let stage = Stage::new("journal-others").await;
    let (one, other) = (start_ready(&setup(&stage, "park")).await, start_ready(&setup(&stage, "park")).await);
    let warned = |daemon: &Daemon| {
        let says =
            |line: &Value| field(line, "problem").is_some_and(|p| p.to_string().contains("the queue has 2 consumers"));
        daemon.log().iter().any(says)
    };
    eventually!(SOON, warned(&one) && warned(&other), "a warning of both");
    assert_eq!(one.metric("courier_consumers", &[]).await, 2.0);
    stage.end(&other).await;
    stage.end(&one).await;
}

#[tokio::test]
async fn a_journal_that_is_taken_away_closes_the_gate_until_it_is_back() {
    let stage = Stage::new("journal-gone").await;
    let setup = setup(&stage, "park");
    let daemon = start_ready(&setup).await;
    let (here, away) = (setup.dir().join("edna-courier-journal"), setup.dir().join("away"));
    fs::create_dir(&away).expect("a directory of ours");
    for file in fs::read_dir(&here).expect("the journal").map(|file| file.expect("a file")) {
        fs::copy(file.path(), away.join(file.file_name())).expect("room");
    }
    fs::remove_dir_all(&here).expect("a directory of ours");
    not_ready(&daemon, &["journal: "]).await;
    stage.send(5, "hello").await;
    assert_eq!(stage.posts(), 0, "nothing is sent that cannot be remembered");
    fs::rename(&away, &here).expect("a directory of ours");
    stage.expect_success_of_all(5).await;
    ready(&daemon).await;
    stage.end(&daemon).await;
}
