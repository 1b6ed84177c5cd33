//! Network faults between daemon and broker, on either connection or both.

use futures_util::future::join_all;

use super::{IN_FLIGHT, PREFETCH, RECOVERY_TIMEOUT, builder, expect_outcomes, slow_api, wait_recovered};
use crate::support::{
    TIMEOUT,
    collector::{Duplicates, ExpectedOutcome},
    daemon::Daemon,
    eventually::eventually,
    fixture::{Fixture, start_ready, wait_not_ready},
    proxy::{Direction, Proxy, Role},
};

const COMMANDS: u16 = 60;

/// The connections that a fault affects.
#[derive(Clone, Copy)]
enum Affected {
    Only(Role),
    Both,
}

const EITHER: [Affected; 2] = [Affected::Only(Role::Consume), Affected::Only(Role::Publish)];
const ALL: [Affected; 3] = [Affected::Only(Role::Consume), Affected::Only(Role::Publish), Affected::Both];

impl Affected {
    fn roles(self) -> Vec<Role> {
        match self {
            Self::Only(role) => vec![role],
            Self::Both => vec![Role::Consume, Role::Publish],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Only(role) => role.as_str(),
            Self::Both => "both",
        }
    }
}

/// A daemon behind a proxy, with a heartbeat timeout of about four seconds.
struct Case {
    affected: Affected,
    proxy: Proxy,
    daemon: Daemon,
    fixture: Fixture,
}

impl Case {
    /// Starts the daemon and waits for the first POSTs.
    async fn start_busy(fault: &str, affected: Affected) -> Self {
        let case = Self::start(fault, affected).await;
        case.fixture.send(COMMANDS, "hello").await;
        eventually!(TIMEOUT, case.fixture.posts() >= 2 * IN_FLIGHT, "POSTs");
        case
    }

    async fn start(fault: &str, affected: Affected) -> Self {
        let fixture = Fixture::with(&format!("{fault}-{}", affected.name()), slow_api()).await;
        let broker = fixture.queues.broker();
        let proxy = Proxy::amqp(broker.host_and_port()).await;
        let url = format!("{}?heartbeat=2", broker.url_at(proxy.address()));
        let daemon = start_ready(&builder(&fixture).set("broker.url", &url)).await;
        Self { affected, proxy, daemon, fixture }
    }

    /// A proxy handle for the affected connections.
    fn fault(&self) -> Proxy {
        match self.affected {
            Affected::Only(role) => self.proxy.for_role(role),
            Affected::Both => self.proxy.clone(),
        }
    }

    /// Waits until `/readyz` reports the affected connections.
    async fn wait_reported(&self) {
        let parts = self.affected.roles().into_iter().map(|role| format!("{}: not connected", role.as_str()));
        let parts: Vec<_> = parts.collect();
        wait_not_ready(&self.daemon, &parts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }

    /// Asserts, after the fault, that exactly the affected connections were replaced and that all commands succeeded.
    async fn expect_recovery(self) {
        wait_recovered(&self.daemon).await;
        for role in [Role::Consume, Role::Publish] {
            let reconnected = self.daemon.metric("courier_reconnects_total", &[("role", role.as_str())]).await > 0.0;
            let expected = self.affected.roles().contains(&role);
            assert_eq!(reconnected, expected, "{}: {} reconnected", self.affected.name(), role.as_str());
        }
        expect_outcomes(
            &self.fixture,
            &self.daemon,
            |_| ExpectedOutcome::succeeded(1..=1),
            COMMANDS,
            Duplicates::Allowed,
        )
        .await;
    }
}

#[tokio::test]
async fn one_connection_cut_leaves_the_other_open() {
    let cut = async |affected| {
        let case = Case::start_busy("cut", affected).await;
        case.fault().cut();
        let reconnects = async || case.daemon.metric("courier_reconnects_total", &[]).await;
        eventually!(RECOVERY_TIMEOUT, reconnects().await, |count| *count >= 1.0, "a reconnect");
        case.expect_recovery().await;
    };
    join_all(EITHER.map(cut)).await;
}

#[tokio::test]
async fn one_connection_stalled_leaves_the_other_open() {
    let stall = async |affected| {
        let case = Case::start_busy("stall", affected).await;
        case.fault().stall();
        let before = case.fixture.posts();
        case.wait_reported().await;
        let meanwhile = case.fixture.posts() - before;
        assert!(meanwhile <= 2 * PREFETCH, "{}: {meanwhile} POSTs during the stall", affected.name());
        case.fault().resume().await;
        case.expect_recovery().await;
    };
    join_all(EITHER.map(stall)).await;
}

/// Bytes pass in one direction only.
#[tokio::test]
async fn half_open_connection_is_replaced() {
    let stall = async |(direction, affected): (Direction, Affected)| {
        let case = Case::start_busy(&format!("half-{direction:?}").to_lowercase(), affected).await;
        case.fault().stall_direction(direction);
        case.wait_reported().await;
        case.fault().resume().await;
        case.expect_recovery().await;
    };
    let cases = [Direction::ToServer, Direction::ToClient]
        .into_iter()
        .flat_map(|direction| ALL.map(|affected| (direction, affected)));
    join_all(cases.map(stall)).await;
}

/// The network recovers just after a connection attempt that never gets an answer.
#[tokio::test]
async fn unanswered_handshake_times_out() {
    let blackhole = async |affected| {
        let case = Case::start_busy("blackhole", affected).await;
        let blackholed = case.affected.roles().len() as u64;
        case.fault().blackhole();
        case.fault().cut();
        case.wait_reported().await;
        eventually!(TIMEOUT, case.proxy.blackholed() >= blackholed, "connection attempts without an answer");
        case.fault().resume().await;
        case.expect_recovery().await;
    };
    join_all(ALL.map(blackhole)).await;
}

/// The broker has stored the events and sends no confirms: no delivery is acked before the session ends.
#[tokio::test]
async fn missing_confirms_end_the_session_and_lose_nothing() {
    let case = Case::start("unconfirmed", Affected::Only(Role::Publish)).await;
    case.proxy.withhold_confirms();
    case.fixture.send(COMMANDS, "hello").await;
    let unconfirmed = async || case.daemon.metric("courier_unconfirmed", &[]).await;
    eventually!(
        TIMEOUT,
        unconfirmed().await,
        |count| *count == PREFETCH as f64,
        "all commands in hand await a confirm"
    );
    assert_eq!(case.fixture.posts(), PREFETCH);
    let reconnects = async || case.daemon.metric("courier_reconnects_total", &[("role", "publish")]).await;
    // The publisher gives up after 10 s.
    eventually!(TIMEOUT, reconnects().await, |count| *count == 1.0, "a new session");
    assert_eq!(case.fixture.posts(), PREFETCH, "no POST without confirms");
    let timed_out = || case.daemon.log_text().contains("the broker did not answer a publish within 10 s");
    eventually!(TIMEOUT, timed_out(), "a log line about the publish");
    case.proxy.resume().await;
    case.expect_recovery().await;
}
