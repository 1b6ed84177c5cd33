//! A daemon at work between queues of a test's own and an API that listens.

use edna_courier::sandbox::{Options, ReceivedFilter, Sandbox};

use super::{
    SOON,
    daemon::{Daemon, Setup},
    eventually::eventually,
    queues::Queues,
};

/// Drops the daemon first and the queues last.
#[derive(Debug)]
pub(crate) struct Bench<A = Played> {
    pub(crate) daemon: Daemon,
    pub(crate) api: A,
    pub(crate) queues: Queues,
}

/// The sandbox as the API.
pub(crate) struct Played(pub(crate) Sandbox);

impl std::fmt::Debug for Played {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Played").field(&self.0.addr()).finish()
    }
}

impl Played {
    /// A sandbox without latency.
    pub(crate) fn start() -> Self {
        let listen = "127.0.0.1:0".parse().expect("an address");
        Self(Sandbox::start(listen, Options::default()).expect("a free port"))
    }

    /// For `api.base_url`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.addr())
    }

    /// How many requests have arrived, and how many of their messages the customers got.
    pub(crate) fn posts(&self) -> (u64, u64) {
        let listing = self.0.received(&ReceivedFilter { limit: Some(0), ..ReceivedFilter::default() });
        (listing.total, listing.accepted)
    }
}

impl Bench {
    /// With the sandbox, and these settings besides the least.
    pub(crate) async fn new(test: &str, settings: &[(&str, &str)]) -> Self {
        let (queues, api) = (Queues::new(test).await, Played::start());
        let base_url = api.url();
        Self::on(queues, api, &base_url, settings).await
    }

    /// How many requests have arrived at the API, and how many of their messages the customers got.
    pub(crate) fn posts(&self) -> (u64, u64) {
        self.api.posts()
    }
}

impl<A> Bench<A> {
    /// With any API at this address. The daemon has declared its topology and consumes.
    pub(crate) async fn on(queues: Queues, api: A, base_url: &str, settings: &[(&str, &str)]) -> Self {
        let least =
            [("broker.declare", "true"), ("api.base_url", base_url), ("api.token", "t"), ("journal.kind", "none")];
        let all = least.iter().chain(settings);
        let daemon = all.fold(Setup::new().on(&queues), |setup, (name, value)| setup.set(name, value)).start().await;
        let bench = Self { daemon, api, queues };
        bench.consumes(true).await;
        bench
    }

    /// Waits until the daemon consumes, or no longer does.
    pub(crate) async fn consumes(&self, wanted: bool) {
        let active = async || self.daemon.report().await["consumer_active"] == wanted;
        eventually!(SOON, active().await, "the consumer that comes or goes");
    }

    /// Waits until the gate is closed by exactly these reasons.
    pub(crate) async fn gate_closed_by(&self, reasons: &[&str]) {
        let seen = async || self.daemon.report().await["gate"]["reasons"].clone();
        eventually!(SOON, seen().await, |seen| *seen == serde_json::json!(reasons), "the gate's reasons");
    }

    /// Insists that nothing is left anywhere once the daemon has ended, see [`Self::drained`].
    ///
    /// A quorum queue's channel keeps acknowledgements back while more than 32 await the log, and forgets them when it
    /// closes. One more message through the queue (no command, so that the API is not asked) shows that they are in.
    pub(crate) async fn end(self) {
        let (client, commands) = (self.queues.client(), self.queues.name("commands"));
        client.publish(&commands, "send", b"the last", lapin::BasicProperties::default()).await;
        assert_eq!(self.queues.dead_letters(1).await[0].body, b"the last", "no other dead letter");
        self.drained().await;
    }

    /// Drains the daemon and insists that nothing is left anywhere, acknowledgements included: what was not acked is in
    /// its queue again once the daemon has gone.
    pub(crate) async fn drained(self) {
        self.daemon.signal("TERM");
        assert_eq!(self.daemon.wait_exit(SOON).await, 0, "the daemon's exit code");
        self.queues.expect_all_empty().await;
    }
}
