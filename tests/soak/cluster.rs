//! A cluster of three nodes, one of which can do nothing for the daemon: frozen, or cut off from the others.

#[expect(dead_code, clippy::duplicate_mod, reason = "a part of the integration tests' support that only it uses")]
#[path = "../it/support/broker/node.rs"]
mod node;
#[expect(clippy::duplicate_mod, reason = "the same")]
#[path = "../it/support/broker/reaper.rs"]
mod reaper;

use std::{process::Command, time::Duration};

use edna_courier::sandbox::Options;
use futures_util::future::join_all;
use tokio::{task::spawn_blocking, time::Instant};

use self::node::Node;
use crate::support::{
    TIMEOUT,
    broker::{Broker, run_command},
    daemon::Daemon,
    eventually::eventually,
    fixture::{Fixture, command, start_ready},
    unique_name,
};

const START_TIMEOUT: Duration = Duration::from_secs(120);

/// From the fault until `/readyz` shows it.
const REPORTED_WITHIN: Duration = Duration::from_secs(10);
/// From the fault until the daemon consumes from another node.
const RECOVERED_WITHIN: Duration = Duration::from_secs(15);

/// The cluster gives a silent node up after `net_ticktime` (60 s) and a quarter. Until then, the queue's leader keeps up to
/// the prefetch of commands for the consumer at that node.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(120);

const COMMANDS: u16 = 400;

/// Refuses the other nodes, as if the network between them were cut. Clients still reach the node.
const CUT_OFF: &str = "lists:foreach(fun(N) -> erlang:set_cookie(N, other), erlang:disconnect_node(N) end, nodes()).";

struct Cluster {
    nodes: Vec<Node>,
    urls: Vec<String>,
}

impl Cluster {
    /// Starts three nodes as processes and joins them.
    async fn start() -> Self {
        let start = |neighbour| Node::start(&unique_name("edna-courier-cluster"), neighbour).expect("a node");
        let first = start(None);
        let nodes = [start(Some(&first)), start(Some(&first))];
        let nodes: Vec<_> = std::iter::once(first).chain(nodes).collect();
        let urls: Vec<_> =
            nodes.iter().map(|node| format!("amqp://guest:guest@127.0.0.1:{}/%2f", node.ports()[0])).collect();
        join_all(urls.iter().map(|url| Broker::external(url.clone(), START_TIMEOUT))).await;
        let cluster = Self { nodes, urls };
        let name = cluster.eval(0, "node().").await;
        for node in 1..3 {
            for args in [&["stop_app"][..], &["join_cluster", name.trim_matches('\'')], &["start_app"]] {
                cluster.rabbitmqctl(node, args).await;
            }
        }
        cluster
    }

    async fn rabbitmqctl(&self, node: usize, args: &[&str]) -> String {
        let mut command = self.nodes[node].rabbitmqctl();
        command.args(args);
        blocking(move || run_command(&mut command)).await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn eval(&self, node: usize, expression: &str) -> String {
        self.rabbitmqctl(node, &["--quiet", "eval", expression]).await.trim().to_owned()
    }

    /// Stops the Erlang VM of the first node, as a frozen machine does.
    async fn freeze(&self) {
        let pid = self.eval(0, "os:getpid().").await;
        run_command(Command::new("kill").args(["-STOP", pid.trim_matches('"')])).expect("the node runs");
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(work).await.expect("no panic")
}

/// Sends commands by another node, lets the fault hit the daemon's node, and measures how long it is of no use.
async fn check_node_left(test: &str, fault: impl AsyncFnOnce(&Cluster)) {
    let cluster = Cluster::start().await;
    let broker = Broker::external(cluster.urls[1].clone(), START_TIMEOUT).await.expect("the second node");
    let options = Options { latency: Duration::from_millis(5), ..Options::default() };
    let fixture = Fixture::on(&broker, test, options).await;
    // The second node leads the queues: without Khepri, a queue that a frozen node leads is stuck for `net_ticktime`.
    fixture.drain(&start_ready(&fixture.builder()).await).await;
    let builder = fixture.builder().set("broker.url", &cluster.urls.join(","));
    let daemon = start_ready(&builder).await;
    fixture.send(COMMANDS / 2, "hello").await;
    eventually!(TIMEOUT, fixture.posts() >= u64::from(COMMANDS) / 2, "POSTs by the first node");
    // A first delivery to the only daemon on the queue ends the doubt of its new journal.
    let mut sent = COMMANDS / 2;
    let mut is_in_doubt = async || {
        fixture.queues.send(&command(sent, "hello")).await;
        sent += 1;
        !daemon.status().await["journal_doubt"].is_null()
    };
    eventually!(TIMEOUT, is_in_doubt().await, |in_doubt| !in_doubt, "a complete journal");

    fault(&cluster).await;
    let (reported, recovered) = readiness_after_fault(&daemon).await;
    println!("{test}: reported after {reported:.1?}, consuming again after {recovered:.1?}");
    let posts = fixture.posts();
    for index in sent..COMMANDS {
        fixture.queues.send(&command(index, "hello")).await;
    }
    eventually!(TIMEOUT, fixture.posts() > posts, "POSTs by another node");
    let events = async || fixture.queues.client().depth(&fixture.queues.name("events")).await;
    eventually!(GIVEN_UP_WITHIN, events().await == u32::from(COMMANDS), "an event of each command");
    let events = fixture.expect_all_succeeded(COMMANDS).await;
    assert!(events.iter().all(|event| event["possibleDuplicate"] == false), "{events:?}");
    assert!(reported <= REPORTED_WITHIN && recovered <= RECOVERED_WITHIN, "{reported:?} {recovered:?}");
}

/// How long after this moment `/readyz` answers 503, and how long until it answers 200 again.
async fn readiness_after_fault(daemon: &Daemon) -> (Duration, Duration) {
    let began = Instant::now();
    let status = async || daemon.get("/readyz").await.0;
    eventually!(TIMEOUT, status().await == 503, "the fault is reported");
    let reported = began.elapsed();
    eventually!(2 * TIMEOUT, status().await == 200, "readiness by another node");
    (reported, began.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_frozen_node_is_left() {
    check_node_left("cluster-frozen", async |cluster: &Cluster| cluster.freeze().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_cut_off_node_is_left() {
    check_node_left("cluster-cut-off", async |cluster: &Cluster| {
        cluster.eval(0, CUT_OFF).await;
    })
    .await;
}
