//! Everything that runs in a soak: a broker, a sandbox, a Redis, and two deployments between them.

use std::{
    net::Ipv4Addr,
    path::PathBuf,
    sync::{
        Mutex as SyncMutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use edna_courier::sandbox::{Options, Sandbox};
use jiff::Timestamp;
use tokio::sync::{Mutex, RwLock};

use crate::{
    config::{RECOVERY_TIMEOUT, TIERS, elapse},
    deployment::Deployment,
    doubt::{Effects, Site},
    ledger::Ledger,
    support::{broker::Broker, client::Client, create_temp_dir, eventually::poll, proxy::Proxy, redis::Redis},
};

/// Requests that the sandbox keeps: more than a run has.
const KEPT_POSTS: usize = 1 << 20;

/// Between two looks at whether everything works.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Fields drop in this order: the deployments before what they use.
pub(crate) struct Environment {
    pub(crate) deployments: [Deployment; 2],
    pub(crate) redis: Mutex<Redis>,
    pub(crate) redis_proxy: Proxy,
    pub(crate) sandbox: Sandbox,
    /// Locked for writing while direct connections to the broker would fail.
    pub(crate) broker: RwLock<Broker>,
    ledger: SyncMutex<Ledger>,
    start: Timestamp,
    /// Cleared at the end of the load.
    pub(crate) is_loaded: AtomicBool,
    /// The load is one command a second.
    pub(crate) is_trickle: AtomicBool,
    /// No command is published twice, as the journals are about to be lost.
    pub(crate) is_unique: AtomicBool,
    is_over: AtomicBool,
    /// The logs of all processes.
    pub(crate) logs: PathBuf,
}

impl Environment {
    pub(crate) async fn start(seed: u64) -> Self {
        let logs = create_temp_dir(&format!("edna-courier-soak-{seed}-{}", std::process::id())).expect("a directory");
        let (broker, redis) = (Broker::start_private().await, Redis::start());
        let options = Options { latency: Duration::from_millis(30), keep: KEPT_POSTS, seed, ..Options::default() };
        let sandbox = Sandbox::start((Ipv4Addr::LOCALHOST, 0).into(), options).expect("a free port");
        let redis_proxy = Proxy::tcp(redis.address()).await;
        let redis_url = format!("redis://{}/0", redis_proxy.address());
        let api = sandbox.addr();
        let file = Deployment::start(Site::File, &broker, &api, &[], &logs).await;
        let journal = [("journal.kind", "redis"), ("journal.redis_url", redis_url.as_str())];
        let shared = Deployment::start(Site::Redis, &broker, &api, &journal, &logs).await;
        let environment = Self {
            deployments: [file, shared],
            redis: Mutex::new(redis),
            redis_proxy,
            sandbox,
            broker: RwLock::new(broker),
            ledger: SyncMutex::default(),
            start: Timestamp::now(),
            is_loaded: AtomicBool::new(true),
            is_trickle: AtomicBool::new(false),
            is_unique: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            logs,
        };
        environment.wait_healthy().await.unwrap_or_else(|problem| panic!("{problem}"));
        environment.end_redis_doubt().await.unwrap_or_else(|problem| panic!("{problem}"));
        environment
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("not poisoned")
    }

    /// When the run began.
    pub(crate) fn start_time(&self) -> Timestamp {
        self.start
    }

    /// The time since the start of the run.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(Timestamp::now().as_millisecond().saturating_sub(self.start.as_millisecond())).unwrap_or(0)
    }

    pub(crate) fn deployment(&self, site: Site) -> &Deployment {
        &self.deployments[site as usize]
    }

    pub(crate) fn begin(&self, site: Option<Site>, effects: Effects, cause: impl Into<String>) -> usize {
        let now_ms = self.now_ms();
        self.ledger().disturbances.begin(site, effects, cause.into(), now_ms)
    }

    pub(crate) fn end(&self, disturbance: usize) {
        let now_ms = self.now_ms();
        self.ledger().disturbances.end(disturbance, now_ms);
    }

    // --- Health ---

    /// Waits until all daemons consume, no command waits in a queue, and what cannot be decoded is buried. Returns what
    /// was last in the way.
    ///
    /// # Errors
    /// What does not work after [`RECOVERY_TIMEOUT`].
    pub(crate) async fn wait_healthy(&self) -> Result<String, String> {
        self.wait_until_empty("recovery", async || self.problems().await).await
    }

    /// Waits until all commands that were published before this time have an outcome.
    ///
    /// # Errors
    /// Those without one after [`RECOVERY_TIMEOUT`].
    pub(crate) async fn wait_finished(&self, before_ms: u64) -> Result<String, String> {
        self.wait_until_empty("the outcome of earlier commands", async || {
            let unfinished = Site::ALL.map(|site| self.ledger().unfinished(site, before_ms)).concat();
            unfinished.iter().map(ToString::to_string).collect()
        })
        .await
    }

    /// Waits until every command has an outcome, every queue is empty and nothing is in hand.
    ///
    /// # Errors
    /// What is left after [`RECOVERY_TIMEOUT`].
    pub(crate) async fn wait_settled(&self) -> Result<String, String> {
        self.wait_until_empty("the last outcome", async || {
            let mut left = self.problems().await;
            for deployment in &self.deployments {
                let unfinished = self.ledger().unfinished(deployment.site, u64::MAX);
                if !unfinished.is_empty() {
                    left.push(format!("commands without an outcome: {unfinished:?}"));
                }
                if deployment.metric("courier_in_hand").await != Some(0.0) {
                    left.push(format!("{} has commands in hand", deployment.site.as_str()));
                }
                for (tier, _) in TIERS {
                    left.extend(self.depth_problem(deployment, &format!("retry.{tier}")).await);
                }
            }
            left
        })
        .await
    }

    async fn wait_until_empty(&self, what: &str, problems: impl AsyncFn() -> Vec<String>) -> Result<String, String> {
        let mut last = String::new();
        let observe = async || {
            elapse(LOOK_INTERVAL).await;
            let problems = problems().await;
            if !problems.is_empty() {
                last = problems.join("; ");
            }
            problems
        };
        match poll(RECOVERY_TIMEOUT, observe, Vec::is_empty).await {
            Ok(_) => Ok(last),
            Err(_) => Err(format!("{what} takes longer than {RECOVERY_TIMEOUT:?}: {last}")),
        }
    }

    async fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for deployment in &self.deployments {
            problems.extend(deployment.problems().await);
        }
        if self.ledger().unburied() > 0 {
            problems.push(format!("{} undecodable messages are not buried", self.ledger().unburied()));
        }
        if problems.is_empty() {
            for deployment in &self.deployments {
                problems.extend(self.depth_problem(deployment, "commands").await);
            }
        }
        problems
    }

    async fn depth_problem(&self, deployment: &Deployment, queue: &str) -> Option<String> {
        let depth = self.client().await.depth(&deployment.queues.name(queue)).await;
        (depth > 0).then(|| format!("{depth} messages in {queue} of {}", deployment.site.as_str()))
    }

    /// A new connection directly to the broker.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.broker.read().await.url()).await
    }

    // --- Doubt ---

    /// Ends the doubt about an empty or restarted Redis, which lasts an hour otherwise; waits until the daemons know.
    ///
    /// # Errors
    /// A daemon remains in doubt.
    pub(crate) async fn end_redis_doubt(&self) -> Result<String, String> {
        let deployment = self.deployment(Site::Redis);
        // Otherwise one of them would begin the doubt later.
        self.wait_until_empty("the beginning of doubt", async || {
            let in_doubt = deployment.metric("courier_journal_in_doubt").await;
            let all = deployment.daemons.len() as f64;
            (in_doubt != Some(all)).then(|| format!("in doubt: {in_doubt:?} of {all}")).into_iter().collect()
        })
        .await?;
        self.redis.lock().await.cli(&["del", &format!("{}:journal:doubt", deployment.queues.prefix())]);
        self.wait_without_doubt(Site::Redis).await
    }

    /// Waits until no daemon of the deployment has a journal in doubt.
    ///
    /// # Errors
    /// A daemon remains in doubt.
    pub(crate) async fn wait_without_doubt(&self, site: Site) -> Result<String, String> {
        self.wait_until_empty("the end of doubt", async || {
            let in_doubt = self.deployment(site).metric("courier_journal_in_doubt").await;
            (in_doubt != Some(0.0)).then(|| format!("in doubt: {in_doubt:?}")).into_iter().collect()
        })
        .await
    }

    // --- Processes ---

    /// Starts daemons again that a message has crashed, until the run is over.
    pub(crate) async fn supervise(&self) {
        while !self.is_over() {
            elapse(Duration::from_millis(100)).await;
            for deployment in &self.deployments {
                for daemon in &deployment.daemons {
                    // Locked while it is down on purpose.
                    let Ok(mut daemon) = daemon.try_lock() else { continue };
                    if !daemon.is_running() && !self.is_over() {
                        if deployment.site == Site::File {
                            self.ledger().strays.push(format!("the daemon exited at {} ms", self.now_ms()));
                        }
                        let now = self.begin(Some(deployment.site), Effects::CRASH, "a daemon has crashed");
                        daemon.restart().await;
                        self.end(now);
                    }
                }
            }
        }
    }

    /// Drains all daemons.
    pub(crate) async fn terminate(&self) {
        for deployment in &self.deployments {
            for daemon in &deployment.daemons {
                daemon.lock().await.terminate().await;
            }
        }
    }

    /// The queues that must be empty after the drain and are not.
    pub(crate) async fn left_over(&self) -> Vec<String> {
        let mut left = Vec::new();
        for deployment in &self.deployments {
            for queue in ["commands", "unroutable"] {
                left.extend(self.depth_problem(deployment, queue).await);
            }
        }
        left
    }

    /// Writes the logs of the running processes; returns the directory.
    pub(crate) async fn write_logs(&self) -> &PathBuf {
        for deployment in &self.deployments {
            for daemon in &deployment.daemons {
                daemon.lock().await.write_log();
            }
        }
        &self.logs
    }

    /// Ends the tasks that accompany the faults.
    pub(crate) fn finish(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    pub(crate) fn set_trickle(&self, is_trickle: bool) {
        self.is_trickle.store(is_trickle, Ordering::Relaxed);
    }
}
