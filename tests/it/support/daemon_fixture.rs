//! A running daemon between the queues of one test and an API.

use edna_courier::sandbox::{Options, ReceivedFilter, Sandbox};

use super::{
    TIMEOUT,
    daemon::{Daemon, DaemonBuilder},
    eventually::eventually,
    queues::Queues,
};

/// Fields drop in order: the daemon first, the queues last.
#[derive(Debug)]
pub(crate) struct DaemonFixture<A = SandboxApi> {
    pub(crate) daemon: Daemon,
    pub(crate) api: A,
    pub(crate) queues: Queues,
}

/// The built-in sandbox as the API.
pub(crate) struct SandboxApi(pub(crate) Sandbox);

impl std::fmt::Debug for SandboxApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SandboxApi").field(&self.0.addr()).finish()
    }
}

impl SandboxApi {
    /// Starts a sandbox without latency.
    pub(crate) fn start() -> Self {
        let listen = "127.0.0.1:0".parse().expect("an address");
        Self(Sandbox::start(listen, Options::default()).expect("a free port"))
    }

    /// The value for `api.base_url`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.addr())
    }

    /// Requests received, and how many of them were accepted.
    pub(crate) fn posts(&self) -> (u64, u64) {
        let received = self.0.received(&ReceivedFilter { limit: Some(0), ..ReceivedFilter::default() });
        (received.total, received.accepted)
    }
}

impl DaemonFixture {
    /// Starts the daemon with a sandbox and these settings on top of the required ones.
    pub(crate) async fn new(test: &str, settings: &[(&str, &str)]) -> Self {
        let (queues, api) = (Queues::new(test).await, SandboxApi::start());
        let base_url = api.url();
        Self::on(queues, api, &base_url, settings).await
    }

    /// Requests received by the API, and how many of them were accepted.
    pub(crate) fn posts(&self) -> (u64, u64) {
        self.api.posts()
    }
}

impl<A> DaemonFixture<A> {
    /// Starts the daemon with an API at `base_url`; waits until it has declared its topology and consumes.
    pub(crate) async fn on(queues: Queues, api: A, base_url: &str, settings: &[(&str, &str)]) -> Self {
        let required =
            [("broker.declare", "true"), ("api.base_url", base_url), ("api.token", "t"), ("journal.kind", "none")];
        let all = required.iter().chain(settings);
        let daemon = all
            .fold(DaemonBuilder::new().queues(&queues), |builder, (name, value)| builder.set(name, value))
            .start()
            .await;
        let fixture = Self { daemon, api, queues };
        fixture.wait_consuming(true).await;
        fixture
    }

    /// Waits until the daemon consumes (`true`) or has cancelled its consumer (`false`).
    pub(crate) async fn wait_consuming(&self, expected: bool) {
        let active = async || self.daemon.status().await["consumer_active"].clone();
        eventually!(TIMEOUT, active().await, |active| *active == expected, "consumer_active in /status");
    }

    /// Waits until the gate is closed for exactly these reasons; none means open.
    pub(crate) async fn wait_gate_closed(&self, reasons: &[&str]) {
        let closed_for = async || self.daemon.status().await["gate"]["reasons"].clone();
        eventually!(TIMEOUT, closed_for().await, |seen| *seen == serde_json::json!(reasons), "the gate's reasons");
    }

    /// Drains the daemon as [`Self::drain`] does, after a last, malformed message.
    ///
    /// A channel to a quorum queue holds acks back while more than 32 of them await the Raft log, and drops them when it
    /// closes. The message, which causes no POST, proves that the earlier acks are applied.
    pub(crate) async fn finish(self) {
        let (client, commands) = (self.queues.client(), self.queues.name("commands"));
        client.publish(&commands, "send", b"the last", lapin::BasicProperties::default()).await;
        assert_eq!(self.queues.dead_letters(1).await[0].body, b"the last", "the only dead letter");
        self.drain().await;
    }

    /// Drains the daemon and asserts that all queues are empty. This covers acks: a delivery without one is back in its
    /// queue once the daemon has exited.
    pub(crate) async fn drain(self) {
        self.daemon.signal("TERM");
        assert_eq!(self.daemon.wait_exit(TIMEOUT).await, 0, "exit code of the daemon");
        self.queues.expect_all_empty().await;
    }
}
