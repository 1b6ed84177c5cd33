//! A Cluster, and a master with a replica and a Sentinel that watches them.

use std::{fs, process::Command, sync::OnceLock};

use super::{
    fixture::{RETENTION, TIMEOUT, TestOwner, fast_timings, prefix, redis_url, short_lease_timings, wait_until},
    server::{self, Redis},
};
use crate::{
    domain::journal::Record,
    journal::{
        redis::{RedisJournal, RedisJournalSettings},
        tests::contract::{key, outcome},
    },
    ports::Journal,
};

/// A Cluster of three masters.
pub(super) struct Cluster {
    nodes: Vec<Redis>,
}

impl Cluster {
    fn start() -> Self {
        let node = |_| {
            // The default is the port plus 10,000, which may exceed 65,535.
            let bus = server::free_port().to_string();
            Redis::start_with(&["--appendonly", "yes", "--cluster-enabled", "yes", "--cluster-port", &bus])
        };
        let nodes: Vec<_> = (0..3).map(node).collect();
        let addresses = nodes.iter().map(|node| node.address());
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]).args(addresses).arg("--cluster-yes");
        let made = create.output().expect("redis-cli");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let all_agree = || nodes.iter().all(|node| node.cli(&["cluster", "info"]).contains("cluster_state:ok"));
        let began = std::time::Instant::now();
        while !all_agree() {
            assert!(began.elapsed() < TIMEOUT, "timed out: the nodes agree");
        }
        Self { nodes }
    }

    pub(super) fn url(&self) -> String {
        let addresses: Vec<_> = self.nodes.iter().map(Redis::address).collect();
        format!("redis+cluster://{}", addresses.join(","))
    }
}

/// The Cluster for all tests that do not disturb it.
pub(super) fn shared_cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

#[tokio::test]
async fn cluster_spreads_records_and_is_never_complete() {
    let cluster = shared_cluster();
    let prefix = prefix();
    let owner = TestOwner::start(&cluster.url(), &prefix, fast_timings()).await;
    for number in 0..50 {
        // Braces in an id must not change the hash tag.
        let id = key(&format!("{{{number}}}x}}{{"));
        assert_eq!(owner.journal.start_attempt(&id).await, Ok(Record::Unknown));
        assert_eq!(owner.journal.record_outcome(&id, outcome("{}")).await, Ok(()));
    }
    for node in &cluster.nodes {
        assert!(node.cli(&["--scan", "--pattern", &format!("{prefix}:journal:*")]).lines().count() > 5);
    }
    assert!(!owner.journal.is_complete());
}

#[tokio::test]
async fn failed_node_is_available_once_writable() {
    let mut cluster = Cluster::start();
    let owner = TestOwner::start(&cluster.url(), &prefix(), fast_timings()).await;
    let keys: Vec<_> = (0..30).map(|number| key(&number.to_string())).collect();
    cluster.nodes[0].stop();
    let call_all = async || {
        let mut all = true;
        for key in &keys {
            all &= owner.journal.record_letter_stored(key).await.is_ok();
        }
        all
    };
    let is_available = || owner.events().contains(&"available".to_owned());
    wait_until("a call fails", async || !call_all().await && !owner.events().is_empty()).await;
    let tried_before = calls(&cluster.nodes[1], "cluster|slots");
    wait_until("several reconnects", async || calls(&cluster.nodes[1], "cluster|slots") > tried_before + 3).await;
    assert!(!is_available(), "one node is down: {:?}", owner.events());
    cluster.nodes[0].start_again();
    wait_until("all nodes accept writes", async || is_available() && call_all().await).await;
}

/// The number of calls of a command.
pub(super) fn calls(node: &Redis, command: &str) -> u64 {
    let (stats, name) = (node.cli(&["info", "commandstats"]), format!("cmdstat_{command}:calls="));
    let calls = stats.lines().find_map(|line| line.strip_prefix(&name)?.split(',').next());
    calls.map_or(0, |calls| calls.parse().expect("a number"))
}

/// A master, its replica, and a Sentinel that fails over between them.
struct SentinelDeployment {
    master: Redis,
    replica: Redis,
    sentinel: Redis,
}

impl SentinelDeployment {
    fn start() -> Self {
        let master = Redis::start();
        let (host, port) = master.address().split_once(':').map(|(h, p)| (h.to_owned(), p.to_owned())).expect("a port");
        let replica = Redis::start_with(&["--appendonly", "yes", "--replicaof", &format!("{host} {port}")]);
        let file = master.dir().join("sentinel.conf");
        let lines = format!(
            "sentinel monitor svc {host} {port} 1\nsentinel down-after-milliseconds svc 300\n\
             sentinel failover-timeout svc 2000\n"
        );
        fs::write(&file, lines).expect("a temporary file");
        let sentinel = Redis::start_with(&[&file.display().to_string(), "--sentinel"]);
        Self { master, replica, sentinel }
    }

    fn url(&self) -> String {
        format!("redis+sentinel://{}/svc/0", self.sentinel.address())
    }
}

#[tokio::test]
async fn sentinel_failover_reconnects_to_the_new_master() {
    let mut deployment = SentinelDeployment::start();
    let known = || deployment.sentinel.cli(&["sentinel", "replicas", "svc"]).contains("master-link-status\nok");
    wait_until("Sentinel knows the replica", async || known()).await;
    let timings = short_lease_timings();
    let owner = TestOwner::start(&deployment.url(), &prefix(), timings).await;
    wait_until("the journal is complete", async || owner.journal.is_complete()).await;
    assert_eq!(owner.journal.record_outcome(&key("a"), outcome("{}")).await, Ok(()));
    wait_until("the record is replicated", async || deployment.replica.cli(&["--scan"]).contains("{0:a}")).await;
    deployment.master.stop();
    owner.wait_for_event("Redis at").await;
    owner.wait_for_event("available").await;
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::Finished(outcome("{}"))));
    assert_eq!(owner.journal.start_attempt(&key("b")).await, Ok(Record::Unknown));
}

#[tokio::test]
async fn sentinel_without_the_service_is_reported() {
    let redis = Redis::start();
    let url = redis_url(&format!("redis+sentinel://{}/svc", redis.address()));
    let owner = TestOwner::spawn(url, &prefix(), fast_timings());
    owner.wait_for_event("Redis at 127.0.0.1").await;
    let settings = RedisJournalSettings { url: redis_url(&redis.url()), prefix: prefix(), retention: RETENTION };
    let never_run = RedisJournal::new(settings, |_| {});
    assert!(never_run.start_attempt(&key("a")).await.is_err(), "a journal that does not run is not connected");
}
