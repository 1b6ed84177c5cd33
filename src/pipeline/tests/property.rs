//! Whatever the API and the broker do: every command is settled once, after its one outcome was stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;
use serde_json::json;

use super::{
    daemon::Daemon,
    world::{status, too_many},
};
use crate::{
    domain::evidence::{Evidence, NoAnswer, NotSent},
    pipeline::Drained,
    ports::PublishError,
};

/// Longer than all retries of all commands together.
const EVER: Duration = Duration::from_secs(5_000);

fn evidence() -> impl Strategy<Value = Evidence> {
    prop_oneof![
        3 => Just(status(200)),
        3 => prop::sample::select(vec![400, 401, 404, 408, 425, 429, 500, 503, 302]).prop_map(status),
        1 => (0_u64..60).prop_map(too_many),
        1 => Just(Evidence::NotSent(NotSent::Connect)),
        1 => Just(Evidence::NoAnswer(NoAnswer::Timeout)),
        1 => Just(Evidence::NoAnswer(NoAnswer::Broken)),
    ]
}

fn refusal() -> impl Strategy<Value = PublishError> {
    prop::sample::select(vec![PublishError::Returned, PublishError::Refused, PublishError::Unconfirmed])
}

const SOON: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum Sent {
    Plain,
    Park,
    Expired,
    Malformed,
}

fn sent() -> impl Strategy<Value = Sent> {
    prop::sample::select(vec![Sent::Plain, Sent::Plain, Sent::Park, Sent::Expired, Sent::Malformed])
}

fn deliver(daemon: &mut Daemon, sent: Sent) {
    let more = match sent {
        Sent::Plain => json!({}),
        Sent::Park => json!({"onUncertain": "park"}),
        Sent::Expired => json!({"expiresAt": "2020-01-01T00:00:00Z"}),
        Sent::Malformed => json!({"unknown": 1}),
    };
    daemon.deliver("hello", more);
}

/// How many events and dead letters each command has.
fn told(daemon: &Daemon) -> BTreeMap<String, (usize, usize)> {
    let mut told = BTreeMap::<_, (usize, usize)>::new();
    for event in daemon.world.events() {
        told.entry(event["commandId"].as_str().unwrap().to_owned()).or_default().0 += 1;
        let is_success = event["outcome"] == "succeeded";
        assert_eq!(event["failure"].is_null(), is_success, "{event}");
    }
    for letter in daemon.world.dead_letters() {
        let body: serde_json::Value = serde_json::from_slice(&letter.body).unwrap();
        told.entry(body["commandId"].as_str().unwrap().to_owned()).or_default().1 += 1;
    }
    told
}

fn run(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(test());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_command_is_settled_once_after_its_one_outcome_is_stored(
        commands in prop::collection::vec(sent(), 1..20),
        script in prop::collection::vec(evidence(), 0..60),
        refusals in prop::collection::vec(refusal(), 0..20),
    ) {
        run(async || {
            let mut daemon = Daemon::start_with(|rules| rules.max_attempts = 5);
            daemon.world.script(script);
            daemon.world.refuse(refusals);
            for sent in &commands {
                deliver(&mut daemon, *sent);
            }
            daemon.pass(EVER).await;
            // The API works now. A trouble without a command waits for one that shows it.
            assert!(daemon.is_open() || daemon.gate.state().probe_requested(), "nobody forgot a hold");
            daemon.world.mend();
            deliver(&mut daemon, Sent::Plain);
            daemon.pass(SOON).await;
            assert!(daemon.is_open(), "and one success ends every trouble");
            let count = commands.len() + 1;
            let mut acked = daemon.world.acked();
            acked.sort_unstable();
            assert_eq!(acked, (1..=daemon.world.delivered()).collect::<Vec<_>>());
            assert_eq!(acked.len(), count + daemon.world.parked().len(), "each copy in a tier came back");
            let told = told(&daemon);
            assert_eq!(told.len(), count);
            for (id, (events, dead_letters)) in &told {
                assert!(*events == 1 && *dead_letters <= 1, "{id}: {events} events, {dead_letters} dead letters");
            }
            let successes = daemon.world.events().iter().filter(|event| event["outcome"] == "succeeded").count();
            assert_eq!(daemon.world.dead_letters().len(), count - successes);
        });
    }

    #[test]
    fn a_drain_at_any_moment_settles_or_releases_and_never_half(
        commands in prop::collection::vec(sent(), 1..20),
        script in prop::collection::vec(evidence(), 0..60),
        refusals in prop::collection::vec(refusal(), 0..5),
        moment_ms in 0_u64..20_000,
    ) {
        run(async || {
            let mut daemon = Daemon::start();
            daemon.world.script(script);
            daemon.world.refuse(refusals);
            for sent in &commands {
                deliver(&mut daemon, *sent);
            }
            daemon.pass(Duration::from_millis(moment_ms)).await;
            let world = daemon.world.clone();
            assert_eq!(daemon.drain().await, Drained::Complete);
            let told_or_parked = world.events().len() + world.parked().len();
            assert_eq!(world.acked().len(), told_or_parked, "what is acknowledged is told or parked, and nothing else is");
        });
    }

    #[test]
    fn whoever_dies_when_and_however_often_nothing_is_lost_and_nothing_sent_twice_unasked(
        commands in prop::collection::vec(prop::bool::ANY, 1..12),
        rejected in prop::collection::vec(prop::bool::weighted(0.2), 0..12),
        deaths_ms in prop::collection::vec(1_u64..60, 0..6),
    ) {
        run(async || {
            let mut daemon = Daemon::start();
            daemon.world.slow_down(Duration::from_millis(2));
            daemon.world.script(rejected.into_iter().map(|rejected| status(if rejected { 400 } else { 200 })));
            for (n, park) in commands.iter().enumerate() {
                let policy = if *park { "park" } else { "resend" };
                daemon.deliver(&format!("c-{}", n + 1), json!({"onUncertain": policy}));
            }
            for moment_ms in deaths_ms {
                daemon.pass(Duration::from_millis(moment_ms)).await;
                daemon = daemon.die().await;
            }
            daemon.pass(EVER).await;
            let (mut posts, mut outcomes) = (BTreeMap::<_, usize>::new(), BTreeMap::<_, BTreeSet<_>>::new());
            daemon.world.posted().into_iter().for_each(|text| *posts.entry(text).or_default() += 1);
            let events = daemon.world.events();
            for event in &events {
                let id = event["commandId"].as_str().unwrap().to_owned();
                outcomes.entry(id).or_default().insert(event["outcome"].as_str().unwrap().to_owned());
            }
            assert_eq!(outcomes.len(), commands.len(), "each has an outcome");
            for (n, park) in commands.iter().enumerate() {
                let id = format!("c-{}", n + 1);
                assert_eq!(outcomes[&id].len(), 1, "and one only: {:?}", outcomes[&id]);
                let own = || events.iter().filter(|event| event["commandId"] == *id);
                let admitted = own().all(|event| event["possibleDuplicate"] == true);
                let posts = posts.get(&id).copied().unwrap_or(0);
                assert!(posts <= 1 || (!park && admitted), "{id} was sent {posts} times, park: {park}");
            }
            let letters = daemon.world.dead_letters().len();
            let failed = outcomes.values().filter(|outcomes| !outcomes.contains("succeeded")).count();
            assert!(letters >= failed, "{letters} dead letters for {failed}");
        });
    }
}
