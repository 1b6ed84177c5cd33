//! One deployment: queues, links through proxies, daemons.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

use lapin::{
    ExchangeKind,
    types::{
        AMQPValue::{LongLongInt, LongString},
        FieldTable,
    },
};
use tokio::sync::Mutex;

use crate::{
    config::{TIERS, with_settings},
    doubt::Site,
    support::{
        TIMEOUT,
        broker::Broker,
        client::Client,
        daemon::{Daemon, DaemonBuilder},
        metrics::Metrics,
        proxy::Proxy,
        queues::Queues,
    },
};

static CLIENT: LazyLock<reqwest::Client> =
    LazyLock::new(|| reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().expect("a client"));

/// Longer than `delivery.drain`.
const EXIT_TIMEOUT: Duration = Duration::from_secs(60);

/// A daemon and what starts it again. Locked while it is down on purpose.
pub(crate) struct Supervised {
    builder: DaemonBuilder,
    daemon: Daemon,
    admin: SocketAddr,
    /// The prefix of the files with the logs of its processes.
    log: PathBuf,
    starts: u32,
}

impl Supervised {
    async fn start(builder: DaemonBuilder, log: PathBuf) -> Self {
        let daemon = builder.start().await;
        let admin = daemon.admin_address().expect("an address in the log of a started daemon");
        Self { builder, daemon, admin, log, starts: 1 }
    }

    /// Starts the next process; the former one has exited.
    pub(crate) async fn restart(&mut self) {
        self.write_log();
        self.daemon = self.builder.start().await;
        self.admin = self.daemon.admin_address().expect("an address in the log of a started daemon");
        self.starts += 1;
    }

    pub(crate) fn kill(&self) {
        self.daemon.kill();
    }

    /// SIGTERM; asserts that the drain is complete.
    pub(crate) async fn terminate(&self) {
        self.daemon.signal("TERM");
        assert_eq!(self.daemon.wait_exit(EXIT_TIMEOUT).await, 0, "exit code of {}", self.log.display());
    }

    pub(crate) fn is_running(&self) -> bool {
        self.daemon.is_running()
    }

    /// The resident memory, unless this is a later process.
    pub(crate) fn rss_of_first_process(&self) -> Option<u64> {
        (self.starts == 1 && self.is_running()).then(|| self.daemon.rss_bytes())
    }

    /// Removes the journal of a daemon that has exited.
    pub(crate) fn remove_journal(&self) {
        fs::remove_dir_all(self.builder.dir().join("edna-courier-journal")).expect("a journal");
    }

    pub(crate) fn write_log(&self) {
        let file = format!("{}-{}.log", self.log.display(), self.starts);
        fs::write(file, self.daemon.log_text()).expect("a writable directory");
    }

    /// The body of a page of the admin server; an error is part of the text.
    pub(crate) async fn get(&self, path: &str) -> String {
        let page = async { CLIENT.get(format!("http://{}{path}", self.admin)).send().await?.text().await };
        page.await.unwrap_or_else(|error| error.to_string())
    }

    /// The sum of a metric; `None` if it cannot be read.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.get("/metrics").await;
        text.starts_with('#').then(|| Metrics::parse(&text).sum(name, &[]))?
    }
}

/// Fields drop in this order: daemons first, queues last.
pub(crate) struct Deployment {
    pub(crate) site: Site,
    pub(crate) daemons: Vec<Mutex<Supervised>>,
    pub(crate) broker: Proxy,
    pub(crate) api: Proxy,
    pub(crate) queues: Queues,
}

impl Deployment {
    /// Declares the topology, with a queue of its own for poison, and starts the daemons, which do not declare.
    pub(crate) async fn start(
        site: Site,
        broker: &Broker,
        api: &SocketAddr,
        journal: &[(&str, &str)],
        logs: &Path,
    ) -> Self {
        let queues = Queues::on(broker, &format!("soak-{}", site.as_str())).await;
        let (broker, api) = (Proxy::amqp(broker.host_and_port()).await, Proxy::tcp(api.to_string()).await);
        declare(&queues).await;
        let mut deployment = Self { site, daemons: Vec::new(), broker, api, queues };
        let count = if site == Site::Redis { 2 } else { 1 };
        for number in 0..count {
            let builder = with_settings(DaemonBuilder::new().queues(&deployment.queues));
            let builder = journal.iter().fold(builder, |builder, (name, value)| builder.set(name, value));
            let url = deployment.queues.broker().url_at(deployment.broker.address());
            let builder = builder
                .set("broker.url", &format!("{url}?heartbeat=2"))
                .set("api.base_url", &format!("http://{}", deployment.api.address()));
            let log = logs.join(format!("{}-{number}", site.as_str()));
            deployment.daemons.push(Mutex::new(Supervised::start(builder, log).await));
        }
        deployment
    }

    /// Why it does not consume, if only one command at a time; empty if it does.
    pub(crate) async fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (number, daemon) in self.daemons.iter().enumerate() {
            let ready = daemon.lock().await.get("/readyz").await;
            if !ready.starts_with("consuming") {
                problems.push(format!("{} {number}: {}", self.site.as_str(), ready.trim_end()));
            }
        }
        problems
    }

    /// The sum of a metric over all daemons; `None` if one cannot be read.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let mut sum = 0.0;
        for daemon in &self.daemons {
            sum += daemon.lock().await.metric(name).await?;
        }
        Some(sum)
    }

    /// Declares a tier's queue as `topology apply` does.
    pub(crate) async fn declare_tier(&self, client: &Client, (tier, ms): (&str, i64)) {
        let (name, commands) = (self.queues.name(&format!("retry.{tier}")), self.queues.name("commands"));
        let arguments = [
            ("x-message-ttl", LongLongInt(ms)),
            ("x-dead-letter-exchange", LongString(commands.into())),
            ("x-dead-letter-strategy", LongString("at-least-once".into())),
            ("x-overflow", LongString("reject-publish".into())),
        ];
        client.declare_queue(&name, "", arguments).await;
    }
}

/// Declares the topology by the command line, and the events queue anew without a length limit. What no client can decode then goes to a queue of its own, so that the
/// dead letters can be read.
async fn declare(queues: &Queues) {
    for (tier, _) in TIERS {
        queues.name(&format!("retry.{tier}"));
    }
    let apply = DaemonBuilder::for_program(env!("CARGO_BIN_EXE_edna-courier"), &["topology", "apply"]);
    let apply = with_settings(apply.queues(queues)).spawn();
    assert_eq!(apply.wait_exit(TIMEOUT).await, 0, "topology apply");
    let (client, events) = (queues.client(), queues.name("events"));
    client.delete_queue(&events).await;
    client.declare_queue(&events, "#", []).await;
    let (poison, dead) = (queues.name("poison"), queues.name("dead"));
    client.declare_exchange(&poison, ExchangeKind::Fanout).await;
    client.declare_queue(&poison, "", []).await;
    client.bind_to(&dead, &poison, "poison").await;
    unbind(client, &dead, &dead, "poison").await;
}

pub(crate) async fn unbind(client: &Client, queue: &str, exchange: &str, key: &str) {
    let channel = client.confirming_channel().await;
    let unbound = channel.queue_unbind(queue.into(), exchange.into(), key.into(), FieldTable::default()).await;
    unbound.unwrap_or_else(|e| panic!("queue {queue} from exchange {exchange}: {e}"));
}
