//! With any answers of the API and the broker, each command is settled once, after its one outcome was stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;
use serde_json::json;

use super::{
    fake_ports::{status, throttled},
    test_daemon::TestDaemon,
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
        1 => (0_u64..60).prop_map(throttled),
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
enum CommandKind {
    Plain,
    Park,
    Expired,
    Malformed,
}

fn kind() -> impl Strategy<Value = CommandKind> {
    prop::sample::select(vec![
        CommandKind::Plain,
        CommandKind::Plain,
        CommandKind::Park,
        CommandKind::Expired,
        CommandKind::Malformed,
    ])
}

fn deliver(daemon: &mut TestDaemon, kind: CommandKind) {
    let more = match kind {
        CommandKind::Plain => json!({}),
        CommandKind::Park => json!({"onUncertain": "park"}),
        CommandKind::Expired => json!({"expiresAt": "2020-01-01T00:00:00Z"}),
        CommandKind::Malformed => json!({"unknown": 1}),
    };
    daemon.deliver("hello", more);
}

/// The number of events and dead letters of each command.
fn published(daemon: &TestDaemon) -> BTreeMap<String, (usize, usize)> {
    let mut published = BTreeMap::<_, (usize, usize)>::new();
    for event in daemon.fakes.events() {
        published.entry(event["commandId"].as_str().unwrap().to_owned()).or_default().0 += 1;
        let is_success = event["outcome"] == "succeeded";
        assert_eq!(event["failure"].is_null(), is_success, "{event}");
    }
    for letter in daemon.fakes.dead_letters() {
        let body: serde_json::Value = serde_json::from_slice(&letter.body).unwrap();
        published.entry(body["commandId"].as_str().unwrap().to_owned()).or_default().1 += 1;
    }
    published
}

fn run(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(test());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn commands_are_settled_once_after_their_outcome(
        commands in prop::collection::vec(kind(), 1..20),
        script in prop::collection::vec(evidence(), 0..60),
        refusals in prop::collection::vec(refusal(), 0..20),
    ) {
        run(async || {
            let mut daemon = TestDaemon::start_with(|settings| settings.max_attempts = 5);
            daemon.fakes.script_evidence(script);
            daemon.fakes.fail_publishes(refusals);
            for kind in &commands {
                deliver(&mut daemon, *kind);
            }
            daemon.advance(EVER).await;
            // The API works now. An outage without a command waits for a probe.
            assert!(daemon.gate_is_open() || daemon.gate.state().probe_requested(), "no hold is left without an outage");
            daemon.fakes.clear_failures();
            deliver(&mut daemon, CommandKind::Plain);
            daemon.advance(SOON).await;
            assert!(daemon.gate_is_open(), "one success ends every outage");
            let count = commands.len() + 1;
            let mut acked = daemon.fakes.acked();
            acked.sort_unstable();
            assert_eq!(acked, (1..=daemon.fakes.deliveries()).collect::<Vec<_>>());
            assert_eq!(acked.len(), count + daemon.fakes.delayed_tiers().len(), "each delayed copy was acked, too");
            let published = published(&daemon);
            assert_eq!(published.len(), count);
            for (id, (events, dead_letters)) in &published {
                assert!(*events == 1 && *dead_letters <= 1, "{id}: {events} events, {dead_letters} dead letters");
            }
            let successes = daemon.fakes.events().iter().filter(|event| event["outcome"] == "succeeded").count();
            assert_eq!(daemon.fakes.dead_letters().len(), count - successes);
        });
    }

    #[test]
    fn drain_at_any_time_settles_or_requeues(
        commands in prop::collection::vec(kind(), 1..20),
        script in prop::collection::vec(evidence(), 0..60),
        refusals in prop::collection::vec(refusal(), 0..5),
        at_ms in 0_u64..20_000,
    ) {
        run(async || {
            let mut daemon = TestDaemon::start();
            daemon.fakes.script_evidence(script);
            daemon.fakes.fail_publishes(refusals);
            for kind in &commands {
                deliver(&mut daemon, *kind);
            }
            daemon.advance(Duration::from_millis(at_ms)).await;
            let fakes = daemon.fakes.clone();
            assert_eq!(daemon.drain().await, Drained::Complete);
            let settled = fakes.events().len() + fakes.delayed_tiers().len();
            assert_eq!(fakes.acked().len(), settled, "an ack for each outcome and each delayed copy");
        });
    }

    #[test]
    fn crashes_lose_nothing_and_duplicate_only_by_policy(
        commands in prop::collection::vec(prop::bool::ANY, 1..12),
        rejected in prop::collection::vec(prop::bool::weighted(0.2), 0..12),
        crashes_ms in prop::collection::vec(1_u64..60, 0..6),
    ) {
        run(async || {
            let mut daemon = TestDaemon::start();
            daemon.fakes.set_latency(Duration::from_millis(2));
            daemon.fakes.script_evidence(rejected.into_iter().map(|rejected| status(if rejected { 400 } else { 200 })));
            for (n, park) in commands.iter().enumerate() {
                let policy = if *park { "park" } else { "resend" };
                daemon.deliver(&format!("c-{}", n + 1), json!({"onUncertain": policy}));
            }
            for at_ms in crashes_ms {
                daemon.advance(Duration::from_millis(at_ms)).await;
                daemon = daemon.crash_and_restart().await;
            }
            daemon.advance(EVER).await;
            let (mut posts, mut outcomes) = (BTreeMap::<_, usize>::new(), BTreeMap::<_, BTreeSet<_>>::new());
            daemon.fakes.posted_texts().into_iter().for_each(|text| *posts.entry(text).or_default() += 1);
            let events = daemon.fakes.events();
            for event in &events {
                let id = event["commandId"].as_str().unwrap().to_owned();
                outcomes.entry(id).or_default().insert(event["outcome"].as_str().unwrap().to_owned());
            }
            assert_eq!(outcomes.len(), commands.len(), "each command has an outcome");
            for (n, park) in commands.iter().enumerate() {
                let id = format!("c-{}", n + 1);
                assert_eq!(outcomes[&id].len(), 1, "one outcome only: {:?}", outcomes[&id]);
                let own = || events.iter().filter(|event| event["commandId"] == *id);
                let admitted = own().all(|event| event["possibleDuplicate"] == true);
                let posts = posts.get(&id).copied().unwrap_or(0);
                assert!(posts <= 1 || (!park && admitted), "{id} was posted {posts} times, park: {park}");
            }
            let letters = daemon.fakes.dead_letters().len();
            let failed = outcomes.values().filter(|outcomes| !outcomes.contains("succeeded")).count();
            assert!(letters >= failed, "{letters} dead letters for {failed}");
        });
    }
}
