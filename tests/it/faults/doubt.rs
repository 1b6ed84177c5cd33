//! Faults with a new journal: commands that the broker takes back and delivers again, and that this daemon did not post,
//! are not in doubt. With `park`, doubt would end them as `uncertain`.

use std::{fs, path::PathBuf, time::Duration};

use axum::http::{HeaderValue, StatusCode};
use edna_courier::sandbox::{Action, Rule, ScriptedResponse};

use super::{assert_outcomes, builder, collect_outcomes, slow_api, wait_gate_closed, wait_recovered};
use crate::support::{
    TIMEOUT,
    collector::{Duplicates, ExpectedOutcome},
    daemon::{Daemon, DaemonBuilder},
    eventually::eventually,
    fixture::{Fixture, command, start_ready},
    proxy::Proxy,
};

const COMMANDS: u16 = 40;

/// A declared topology, and a builder of daemons behind a proxy, with a new journal.
struct Scenario {
    fixture: Fixture,
    proxy: Proxy,
    builder: DaemonBuilder,
}

impl Scenario {
    async fn new(test: &str) -> Self {
        let fixture = Fixture::with(test, slow_api()).await;
        let proxy = Proxy::amqp(fixture.queues.broker().host_and_port()).await;
        fixture.drain(&start_ready(&builder(&fixture)).await).await;
        let builder = builder(&fixture).set("broker.url", &fixture.queues.broker().url_at(proxy.address()));
        let builder = builder.set("delivery.on_uncertain", "park");
        Self { fixture, proxy, builder }
    }

    /// Sends the commands; the API answers the first one with this status three times.
    async fn send(&self, status: u16) {
        let text = |index| if index == 0 { format!("[[status={status},times=3]]") } else { "hello".to_owned() };
        for index in 0..COMMANDS {
            self.fixture.queues.send(&command(index, &text(index))).await;
        }
    }

    /// Cuts both connections, so that the broker delivers again what the daemon has in hand.
    async fn return_deliveries(&self, daemon: &Daemon) {
        let in_hand = async || daemon.metric("courier_in_hand", &[]).await;
        eventually!(TIMEOUT, in_hand().await >= 1.0, "commands in hand");
        let before = self.proxy.accepted();
        self.proxy.cut();
        eventually!(TIMEOUT, self.proxy.accepted() >= before + 2, "new connections");
    }

    /// Waits until each command has its outcome, `succeeded` but for the first one; asserts that none is a possible
    /// duplicate, and that the broker delivered some again.
    async fn expect_no_doubt(&self, daemon: &Daemon, first: ExpectedOutcome) {
        wait_recovered(daemon).await;
        let redelivered = async || daemon.metric("courier_commands_received_total", &[("redelivered", "true")]).await;
        eventually!(TIMEOUT, redelivered().await >= 1.0, "redeliveries");
        let outcomes = collect_outcomes(&self.fixture, daemon, COMMANDS).await;
        let doubtful: Vec<_> = outcomes.commands().iter().filter(|(_, entry)| entry.is_possible_duplicate()).collect();
        assert!(doubtful.is_empty(), "{doubtful:?}");
        let expected = |index| if index == 0 { first.clone() } else { ExpectedOutcome::succeeded(1..=1) };
        assert_outcomes(&self.fixture, &outcomes, expected, COMMANDS, Duplicates::Allowed);
    }
}

#[tokio::test]
async fn full_dead_letter_queue_causes_no_doubt() {
    let scenario = Scenario::new("no-doubt-dead").await;
    let (client, dead) = (scenario.fixture.queues.client(), scenario.fixture.queues.name("dead"));
    client.delete_queue(&dead).await;
    client.declare_full_queue(&dead, "rejected").await;

    scenario.send(400).await;
    let daemon = scenario.builder.start().await;
    wait_gate_closed(&daemon, "blocked").await;
    scenario.return_deliveries(&daemon).await;
    let fillers = u16::try_from(client.depth(&dead).await).expect("a few");
    scenario.fixture.queues.dead_letters(fillers).await;
    scenario.expect_no_doubt(&daemon, ExpectedOutcome::dead_letter("failed", "rejected", 1..=1)).await;
}

#[tokio::test]
async fn deleted_tier_causes_no_doubt() {
    let scenario = Scenario::new("no-doubt-tier").await;
    let tier = scenario.fixture.queues.name("retry.200ms");
    let daemon = start_ready(&scenario.builder).await;
    scenario.fixture.queues.client().delete_queue(&tier).await;
    scenario.send(503).await;
    wait_gate_closed(&daemon, "blocked").await;
    // A new session declares the tier.
    scenario.return_deliveries(&daemon).await;
    scenario.expect_no_doubt(&daemon, ExpectedOutcome::succeeded(4..=4)).await;
}

#[tokio::test]
async fn quota_of_the_api_causes_no_doubt() {
    let scenario = Scenario::new("no-doubt-quota").await;
    let too_many = ScriptedResponse::Status {
        status: StatusCode::TOO_MANY_REQUESTS,
        retry_after: Some(HeaderValue::from_static("2")),
        body: None,
    };
    // Each request beyond those in flight is a probe, two seconds after the one before.
    let exceeded = || Rule::new(too_many.clone()).times(2).nth(6);
    scenario.fixture.sandbox.script([exceeded(), exceeded()]).expect("room");
    scenario.send(200).await;
    let daemon = scenario.builder.start().await;
    for _ in 0..2 {
        wait_gate_closed(&daemon, "throttle").await;
        scenario.return_deliveries(&daemon).await;
    }
    scenario.expect_no_doubt(&daemon, ExpectedOutcome::succeeded(1..=1)).await;
}

/// A shell script that runs the program `$0` with a journal on a disk of its own.
const WITH_DISK: &str = "mount -t tmpfs -o size=8m disk edna-courier-journal && exec \"$0\" run";

#[tokio::test]
async fn full_disk_causes_no_doubt() {
    let mut scenario = Scenario::new("no-doubt-disk").await;
    fs::create_dir(scenario.builder.dir().join("edna-courier-journal")).expect("created");
    let wrapper = ["--user", "--map-root-user", "--mount", "sh", "-c", WITH_DISK];
    scenario.builder = scenario.builder.run_by("unshare", &wrapper);
    scenario.fixture.sandbox.script([Rule::new(Action::delay(Duration::from_secs(1))).forever()]).expect("room");
    scenario.send(200).await;
    let daemon = scenario.builder.start().await;
    let filler = PathBuf::from(format!("/proc/{}/cwd/edna-courier-journal/filler", daemon.pid()));
    assert!(fs::write(&filler, vec![0; 16 << 20]).is_err(), "the disk is full");
    wait_gate_closed(&daemon, "journal").await;
    scenario.return_deliveries(&daemon).await;
    fs::remove_file(&filler).expect("removed");
    scenario.fixture.sandbox.clear_script();
    scenario.expect_no_doubt(&daemon, ExpectedOutcome::succeeded(1..=1)).await;
}
