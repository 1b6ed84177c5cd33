//! Outcomes that cannot be published: the gate closes, no POST starts, and the gate opens once the topology is complete.

use futures_util::future::join_all;
use lapin::ExchangeKind;

use super::{IN_FLIGHT, PREFETCH, builder, expect_no_more_posts, expect_outcomes, wait_gate_closed, wait_recovered};
use crate::support::{
    TIMEOUT,
    collector::{Duplicates, ExpectedOutcome},
    daemon::Daemon,
    eventually::eventually,
    fixture::{Fixture, command, start_ready},
};

const COMMANDS: u16 = 20;

#[derive(Clone, Copy, Debug)]
enum TopologyFault {
    /// No exchange for dead letters: each publish closes the channel.
    DeadExchange,
    /// No exchange for events.
    EventsExchange,
    /// No queue for events or unroutable messages: each event is returned.
    EventsQueue,
}

impl TopologyFault {
    async fn begin(self, fixture: &Fixture) {
        let (client, name) = (fixture.queues.client(), |name| fixture.queues.name(name));
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

    /// Declares `events` before `unroutable`, so that no event goes to the latter.
    async fn end(self, fixture: &Fixture) {
        let (client, name) = (fixture.queues.client(), |name| fixture.queues.name(name));
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

    /// The labels of the failing publishes in `courier_publishes_total`.
    fn labels(self) -> [(&'static str, &'static str); 2] {
        match self {
            Self::DeadExchange => [("target", "dead"), ("result", "unconfirmed")],
            Self::EventsExchange => [("target", "event"), ("result", "unconfirmed")],
            Self::EventsQueue => [("target", "event"), ("result", "returned")],
        }
    }

    /// A missing exchange ends the session, so that the broker redelivers; a returned message does not.
    fn duplicates(self) -> Duplicates {
        match self {
            Self::DeadExchange | Self::EventsExchange => Duplicates::Allowed,
            Self::EventsQueue => Duplicates::Forbidden,
        }
    }
}

/// The API rejects the first command, which causes a dead letter.
fn text(index: u16) -> &'static str {
    if index == 0 { "[[status=400]]" } else { "hello" }
}

fn expected(index: u16) -> ExpectedOutcome {
    if index == 0 {
        ExpectedOutcome::dead_letter("failed", "rejected", 1..=1)
    } else {
        ExpectedOutcome::succeeded(1..=1)
    }
}

/// Asserts that the gate closes and stays closed over repeated publishes, with the other commands in the queue.
async fn expect_blocked(fault: TopologyFault, fixture: &Fixture, daemon: &Daemon) {
    wait_gate_closed(daemon, "blocked").await;
    let attempts = async || daemon.metric("courier_publishes_total", &fault.labels()).await;
    eventually!(TIMEOUT, attempts().await, |count| *count >= 5.0, "repeated publishes");
    let posts = expect_no_more_posts(fixture, daemon).await;
    let in_hand = daemon.metric("courier_in_hand", &[]).await;
    assert!((1.0..=PREFETCH as f64).contains(&in_hand), "{fault:?}: {in_hand} in hand");
    assert!(posts <= 2 * PREFETCH, "{fault:?}: {posts} POSTs");
    let queued = fixture.queued().await;
    assert!(u64::from(queued) >= u64::from(COMMANDS) - 2 * PREFETCH - IN_FLIGHT, "{fault:?}: {queued} queued");
}

#[tokio::test]
async fn unpublishable_outcome_closes_gate_and_stops_posts() {
    let case = async |fault: TopologyFault| {
        let fixture = Fixture::new(&format!("{fault:?}").to_lowercase()).await;
        let daemon = start_ready(&builder(&fixture)).await;
        fault.begin(&fixture).await;
        for index in 0..COMMANDS {
            fixture.queues.send(&command(index, text(index))).await;
        }
        expect_blocked(fault, &fixture, &daemon).await;
        fault.end(&fixture).await;
        wait_recovered(&daemon).await;
        expect_outcomes(&fixture, &daemon, expected, COMMANDS, fault.duplicates()).await;
        assert_eq!(fixture.posts(), u64::from(COMMANDS), "{fault:?}: one POST for each command");
    };
    join_all([TopologyFault::DeadExchange, TopologyFault::EventsExchange, TopologyFault::EventsQueue].map(case)).await;
}
