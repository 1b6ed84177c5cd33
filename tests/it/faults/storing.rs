//! Outcomes that the broker does not take: the gate closes, nothing is posted that could not be told, and it opens by
//! itself when the topology is mended.

use futures_util::future::join_all;
use lapin::ExchangeKind;

use super::{IN_FLIGHT, PREFETCH, back, expect_no_more_posts, gate_closed_by, settle, setup};
use crate::support::{
    SOON,
    account::{Ending, Told},
    daemon::Daemon,
    eventually::eventually,
    stage::{Stage, command, start_ready},
};

const COMMANDS: u16 = 20;

#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// The dead letters' exchange is gone: each try ends the channel.
    DeadExchange,
    /// The events' exchange is gone.
    EventsExchange,
    /// No queue takes events, not even the one for what nobody takes: each is returned.
    EventsQueue,
}

impl Trouble {
    async fn begin(self, stage: &Stage) {
        let (client, name) = (stage.queues.client(), |name| stage.queues.name(name));
        match self {
            Self::DeadExchange => client.delete_exchange(&name("dead")).await,
            Self::EventsExchange => client.delete_exchange(&name("events")).await,
            Self::EventsQueue => {
                for queue in ["events", "unroutable"] {
                    client.delete_queue(&name(queue)).await;
                }
            }
        }
    }

    /// Where something must not go astray, the binding comes first.
    async fn end(self, stage: &Stage) {
        let (client, name) = (stage.queues.client(), |name| stage.queues.name(name));
        match self {
            Self::DeadExchange => {
                client.declare_exchange(&name("dead"), ExchangeKind::Direct).await;
                client.bind(&name("dead"), "rejected").await;
            }
            Self::EventsExchange => {
                client.declare_exchange(&name("events"), ExchangeKind::Topic).await;
                client.bind(&name("events"), "#").await;
            }
            Self::EventsQueue => {
                client.declare_queue(&name("events"), "#", []).await;
                client.declare_queue(&name("unroutable"), "", []).await;
            }
        }
    }

    /// The target whose publishes fail, and how they are counted.
    fn fails(self) -> [(&'static str, &'static str); 2] {
        match self {
            Self::DeadExchange => [("target", "dead"), ("result", "unconfirmed")],
            Self::EventsExchange => [("target", "event"), ("result", "unconfirmed")],
            Self::EventsQueue => [("target", "event"), ("result", "returned")],
        }
    }

    /// A missing exchange costs the session; a return does not.
    fn told(self) -> Told {
        match self {
            Self::DeadExchange | Self::EventsExchange => Told::OnceOrAgain,
            Self::EventsQueue => Told::Once,
        }
    }
}

/// The first is rejected by the API, so that there is a dead letter.
fn text(index: u16) -> &'static str {
    if index == 0 { "[[status=400]]" } else { "hello" }
}

fn ending(index: u16) -> Ending {
    if index == 0 { Ending::death("failed", "rejected", 1..=1) } else { Ending::success(1..=1) }
}

/// The gate is closed, what is in hand waits, and everything else is left where it is, however often it is tried again.
async fn is_held_back(trouble: Trouble, stage: &Stage, daemon: &Daemon) {
    gate_closed_by(daemon, "blocked").await;
    let tries = async || daemon.metric("courier_publishes_total", &trouble.fails()).await;
    eventually!(SOON, tries().await, |tries| *tries >= 5.0, "more tries");
    let posts = expect_no_more_posts(stage, daemon).await;
    let in_hand = daemon.metric("courier_in_hand", &[]).await;
    assert!((1.0..=PREFETCH as f64).contains(&in_hand), "{trouble:?}: {in_hand} in hand");
    assert!(posts <= 2 * PREFETCH, "{trouble:?}: {posts} POSTs");
    let left = stage.waiting().await;
    assert!(u64::from(left) >= u64::from(COMMANDS) - 2 * PREFETCH - IN_FLIGHT, "{trouble:?}: {left} left");
}

#[tokio::test]
async fn what_cannot_be_told_is_not_created() {
    let case = async |trouble: Trouble| {
        let stage = Stage::new(&format!("{trouble:?}").to_lowercase()).await;
        let daemon = start_ready(&setup(&stage)).await;
        trouble.begin(&stage).await;
        for index in 0..COMMANDS {
            stage.queues.send(&command(index, text(index))).await;
        }
        is_held_back(trouble, &stage, &daemon).await;
        trouble.end(&stage).await;
        back(&daemon).await;
        settle(&stage, &daemon, ending, COMMANDS, trouble.told()).await;
        assert_eq!(stage.posts(), u64::from(COMMANDS), "{trouble:?}: each was posted once");
    };
    join_all([Trouble::DeadExchange, Trouble::EventsExchange, Trouble::EventsQueue].map(case)).await;
}
