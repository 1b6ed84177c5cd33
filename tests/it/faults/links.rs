//! The network between the daemon and its broker: on one connection, on the other, on both.

use futures_util::future::join_all;

use super::{BACK, IN_FLIGHT, PREFETCH, back, settle, setup, slowish};
use crate::support::{
    SOON,
    account::{Ending, Told},
    daemon::Daemon,
    eventually::eventually,
    proxy::{Link, Proxy, Way},
    stage::{Stage, not_ready, start_ready},
};

const COMMANDS: u16 = 60;

/// Which connections a fault hits.
#[derive(Clone, Copy)]
enum Hit {
    Only(Link),
    Both,
}

const EITHER: [Hit; 2] = [Hit::Only(Link::Consume), Hit::Only(Link::Publish)];
const ALL: [Hit; 3] = [Hit::Only(Link::Consume), Hit::Only(Link::Publish), Hit::Both];

impl Hit {
    fn links(self) -> Vec<Link> {
        match self {
            Self::Only(link) => vec![link],
            Self::Both => vec![Link::Consume, Link::Publish],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Only(link) => link.as_str(),
            Self::Both => "both",
        }
    }
}

/// A daemon at work behind a proxy; it notices within some four seconds that nothing comes any more.
struct Case {
    hit: Hit,
    proxy: Proxy,
    daemon: Daemon,
    stage: Stage,
}

impl Case {
    async fn flowing(fault: &str, hit: Hit) -> Self {
        let case = Self::ready(fault, hit).await;
        case.stage.send(COMMANDS, "hello").await;
        eventually!(SOON, case.stage.posts() >= 2 * IN_FLIGHT, "commands that flow");
        case
    }

    async fn ready(fault: &str, hit: Hit) -> Self {
        let stage = Stage::with(&format!("{fault}-{}", hit.name()), slowish()).await;
        let broker = stage.queues.broker();
        let proxy = Proxy::amqp(broker.host_and_port()).await;
        let url = format!("{}?heartbeat=2", broker.url_at(proxy.address()));
        let daemon = start_ready(&setup(&stage).set("broker.url", &url)).await;
        Self { hit, proxy, daemon, stage }
    }

    /// The proxy as it makes this case's faults.
    fn fault(&self) -> Proxy {
        match self.hit {
            Hit::Only(link) => self.proxy.only(link),
            Hit::Both => self.proxy.clone(),
        }
    }

    async fn is_told(&self) {
        let told = self.hit.links().into_iter().map(|link| format!("{}: not connected", link.as_str()));
        let told: Vec<_> = told.collect();
        not_ready(&self.daemon, &told.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }

    /// The fault is over, and nothing was lost by it.
    async fn survives(self) {
        back(&self.daemon).await;
        for link in [Link::Consume, Link::Publish] {
            let again = self.daemon.metric("courier_reconnects_total", &[("role", link.as_str())]).await > 0.0;
            let hit = self.hit.links().contains(&link);
            assert_eq!(again, hit, "{}: whether {} was connected again", self.hit.name(), link.as_str());
        }
        settle(&self.stage, &self.daemon, |_| Ending::success(1..=1), COMMANDS, Told::OnceOrAgain).await;
    }
}

#[tokio::test]
async fn one_connection_is_cut_and_the_other_goes_on() {
    let cut = async |hit| {
        let case = Case::flowing("cut", hit).await;
        case.fault().cut();
        let again = async || case.daemon.metric("courier_reconnects_total", &[]).await;
        eventually!(BACK, again().await, |times| *times >= 1.0, "the connection again");
        case.survives().await;
    };
    join_all(EITHER.map(cut)).await;
}

#[tokio::test]
async fn one_connection_stands_still_and_the_other_goes_on() {
    let stall = async |hit| {
        let case = Case::flowing("stall", hit).await;
        case.fault().stall();
        let before = case.stage.posts();
        case.is_told().await;
        let meanwhile = case.stage.posts() - before;
        assert!(meanwhile <= 2 * PREFETCH, "{}: {meanwhile} POSTs more than were in hand", hit.name());
        case.fault().resume().await;
        case.survives().await;
    };
    join_all(EITHER.map(stall)).await;
}

/// What goes out arrives and nothing comes in; or the other way round.
#[tokio::test]
async fn a_link_that_works_in_one_way_only_is_given_up() {
    let stall = async |(way, hit): (Way, Hit)| {
        let case = Case::flowing(&format!("half-{way:?}").to_lowercase(), hit).await;
        case.fault().stall_way(way);
        case.is_told().await;
        case.fault().resume().await;
        case.survives().await;
    };
    let cases = [Way::ToServer, Way::ToClient].into_iter().flat_map(|way| ALL.map(|hit| (way, hit)));
    join_all(cases.map(stall)).await;
}

/// The worst moment to mend the network is right after an attempt to connect has begun that gets no answer any more.
#[tokio::test]
async fn a_broker_that_never_answers_the_handshake_is_given_up_in_time() {
    let swallow = async |hit| {
        let case = Case::flowing("blackhole", hit).await;
        let swallowed = case.hit.links().len() as u64;
        case.fault().blackhole();
        case.fault().cut();
        case.is_told().await;
        eventually!(SOON, case.proxy.swallowed() >= swallowed, "attempts to connect that get no answer");
        case.fault().resume().await;
        case.survives().await;
    };
    join_all(ALL.map(swallow)).await;
}

/// The broker has the outcomes and does not say so: nothing is acknowledged before the session is given up.
#[tokio::test]
async fn confirms_that_never_come_end_the_session_and_lose_nothing() {
    let case = Case::ready("unconfirmed", Hit::Only(Link::Publish)).await;
    case.proxy.withhold_confirms();
    case.stage.send(COMMANDS, "hello").await;
    let unconfirmed = async || case.daemon.metric("courier_unconfirmed", &[]).await;
    eventually!(
        SOON,
        unconfirmed().await,
        |count| *count == PREFETCH as f64,
        "all that is in hand to wait for its confirm"
    );
    assert_eq!(case.stage.posts(), PREFETCH);
    let again = async || case.daemon.metric("courier_reconnects_total", &[("role", "publish")]).await;
    // The deadline is 30 s.
    eventually!(2 * SOON, again().await, |times| *times == 1.0, "a new session");
    assert_eq!(case.stage.posts(), PREFETCH, "nothing was posted meanwhile");
    assert!(case.daemon.log_text().contains("the broker did not answer a publish within 30 s"));
    case.proxy.resume().await;
    case.survives().await;
}
