//! A Cluster, and a master with a replica and a Sentinel that watches them.

use std::{fs, process::Command, sync::OnceLock};

use super::{Owner, RETENTION, Redis, SOON, parse, prefix, quick, restless, until};
use crate::{
    domain::journal::Record,
    journal::{
        redis::{RedisJournal, RedisJournalSettings},
        tests::contract::{ended, key},
    },
    ports::Journal,
};

/// Three masters.
pub(super) struct Cluster {
    nodes: Vec<Redis>,
}

impl Cluster {
    fn start() -> Self {
        let node = |_| {
            // The bus's own default is the port and 10,000, which may be no port at all.
            let bus = super::server::free_port().to_string();
            Redis::start_with(&["--appendonly", "yes", "--cluster-enabled", "yes", "--cluster-port", &bus])
        };
        let nodes: Vec<_> = (0..3).map(node).collect();
        let addresses = nodes.iter().map(|node| node.address());
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]).args(addresses).arg("--cluster-yes");
        let made = create.output().expect("redis-cli");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let all_know = || nodes.iter().all(|node| node.cli(&["cluster", "info"]).contains("cluster_state:ok"));
        let began = std::time::Instant::now();
        while !all_know() {
            assert!(began.elapsed() < SOON, "the nodes do not agree");
        }
        Self { nodes }
    }

    pub(super) fn url(&self) -> String {
        let addresses: Vec<_> = self.nodes.iter().map(Redis::address).collect();
        format!("redis+cluster://{}", addresses.join(","))
    }
}

/// One for all tests that do it no harm.
pub(super) fn shared_cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

#[tokio::test]
async fn a_cluster_keeps_records_on_all_nodes_and_never_calls_itself_complete() {
    let cluster = shared_cluster();
    let prefix = prefix();
    let owner = Owner::start(&cluster.url(), &prefix, quick()).await;
    for number in 0..50 {
        // Braces in an id must not make two nodes of one record's keys.
        let id = key(&format!("{{{number}}}x}}{{"));
        assert_eq!(owner.journal.start_attempt(&id).await, Ok(Record::Unknown));
        assert_eq!(owner.journal.record_outcome(&id, ended("{}")).await, Ok(()));
    }
    for node in &cluster.nodes {
        assert!(node.cli(&["--scan", "--pattern", &format!("{prefix}:journal:*")]).lines().count() > 5);
    }
    assert!(!owner.journal.is_complete());
}

#[tokio::test]
async fn a_node_that_fails_is_known_to_be_back_only_when_it_can_be_written() {
    let mut cluster = Cluster::start();
    let owner = Owner::start(&cluster.url(), &prefix(), quick()).await;
    let keys: Vec<_> = (0..30).map(|number| key(&number.to_string())).collect();
    cluster.nodes[0].stop();
    let ask_all = async || {
        let mut all = true;
        for key in &keys {
            all &= owner.journal.record_letter_stored(key).await.is_ok();
        }
        all
    };
    let is_available = || owner.told().contains(&"available".to_owned());
    until("a failure", async || !ask_all().await && !owner.told().is_empty()).await;
    let tried_before = calls(&cluster.nodes[1], "cluster|slots");
    until("some tries", async || calls(&cluster.nodes[1], "cluster|slots") > tried_before + 3).await;
    assert!(!is_available(), "one node is away: {:?}", owner.told());
    cluster.nodes[0].start_again();
    until("all nodes", async || is_available() && ask_all().await).await;
}

/// How often a command was called.
pub(super) fn calls(node: &Redis, command: &str) -> u64 {
    let (stats, name) = (node.cli(&["info", "commandstats"]), format!("cmdstat_{command}:calls="));
    let calls = stats.lines().find_map(|line| line.strip_prefix(&name)?.split(',').next());
    calls.map_or(0, |calls| calls.parse().expect("a number"))
}

/// A master, its replica, and the Sentinel that makes the one the other's successor.
struct Watched {
    master: Redis,
    replica: Redis,
    sentinel: Redis,
}

impl Watched {
    fn start() -> Self {
        let master = Redis::start();
        let (host, port) = master.address().split_once(':').map(|(h, p)| (h.to_owned(), p.to_owned())).expect("a port");
        let replica = Redis::start_with(&["--appendonly", "yes", "--replicaof", &format!("{host} {port}")]);
        let file = master.dir().join("sentinel.conf");
        let lines = format!(
            "sentinel monitor svc {host} {port} 1\nsentinel down-after-milliseconds svc 300\nsentinel failover-timeout svc \
             2000\n"
        );
        fs::write(&file, lines).expect("a file of ours");
        let sentinel = Redis::start_with(&[&file.display().to_string(), "--sentinel"]);
        Self { master, replica, sentinel }
    }

    fn url(&self) -> String {
        format!("redis+sentinel://{}/svc/0", self.sentinel.address())
    }
}

#[tokio::test]
async fn sentinel_leads_to_the_new_master_and_the_journal_says_that_it_may_have_lost_something() {
    let mut watched = Watched::start();
    let known = || watched.sentinel.cli(&["sentinel", "replicas", "svc"]).contains("master-link-status\nok");
    until("a replica that Sentinel knows", async || known()).await;
    let tuning = restless();
    let owner = Owner::start(&watched.url(), &prefix(), tuning).await;
    until("completeness", async || owner.journal.is_complete()).await;
    assert_eq!(owner.journal.record_outcome(&key("a"), ended("{}")).await, Ok(()));
    until("replication", async || watched.replica.cli(&["--scan"]).contains("{0:a}")).await;
    watched.master.stop();
    owner.is_told("Redis at").await;
    owner.is_told("available").await;
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::Finished(ended("{}"))));
    assert_eq!(owner.journal.start_attempt(&key("b")).await, Ok(Record::Unknown));
}

#[tokio::test]
async fn sentinels_that_do_not_know_the_service_are_told_of() {
    let redis = Redis::start();
    let url = parse(&format!("redis+sentinel://{}/svc", redis.address())).expect("a URL");
    let owner = Owner::spawn(url, &prefix(), quick());
    owner.is_told("Redis at 127.0.0.1").await;
    let settings =
        RedisJournalSettings { url: parse(&redis.url()).expect("a URL"), prefix: prefix(), retention: RETENTION };
    let never_run = RedisJournal::new(settings, |_| {});
    assert!(never_run.start_attempt(&key("a")).await.is_err(), "nothing is connected before it runs");
}
