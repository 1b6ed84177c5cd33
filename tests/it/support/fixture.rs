//! The usual fixture: queues, the sandbox as the API, and daemons between them.

use std::{collections::BTreeMap, net::Ipv4Addr};

use edna_courier::sandbox::{Options, ReceivedFilter, Sandbox};
use serde_json::{Value, json};

use super::{
    TIMEOUT,
    broker::Broker,
    daemon::{Daemon, DaemonBuilder},
    eventually::eventually,
    queues::Queues,
};

/// The queues and the sandbox of one test. It must outlive its daemons: create it first.
pub(crate) struct Fixture {
    pub(crate) sandbox: Sandbox,
    pub(crate) queues: Queues,
}

impl Fixture {
    /// A sandbox without latency that accepts any token, on the shared broker.
    pub(crate) async fn new(test: &str) -> Self {
        Self::with(test, Options::default()).await
    }

    /// A sandbox with these options, on the shared broker.
    pub(crate) async fn with(test: &str, options: Options) -> Self {
        Self::on(Broker::shared().await, test, options).await
    }

    /// A sandbox with these options, on this broker.
    pub(crate) async fn on(broker: &Broker, test: &str, options: Options) -> Self {
        let sandbox = Sandbox::start((Ipv4Addr::LOCALHOST, 0).into(), options).expect("a free port");
        Self { sandbox, queues: Queues::on(broker, test).await }
    }

    /// A builder of daemons that declare the topology and use the token `t`.
    pub(crate) fn builder(&self) -> DaemonBuilder {
        self.builder_without_token().set("api.token", "t")
    }

    /// The same without a credential.
    pub(crate) fn builder_without_token(&self) -> DaemonBuilder {
        let api = format!("http://{}", self.sandbox.addr());
        DaemonBuilder::new().queues(&self.queues).set("broker.declare", "true").set("api.base_url", &api)
    }

    /// Sends the commands `c-0` to `c-<n-1>` with this text, each to another device.
    pub(crate) async fn send(&self, n: u16, text: &str) {
        for index in 0..n {
            self.queues.send(&command(index, text)).await;
        }
    }

    /// The number of ready commands in the queue, without those in hand of a daemon.
    pub(crate) async fn queued(&self) -> u32 {
        self.queues.client().depth(&self.queues.name("commands")).await
    }

    /// The number of requests received by the API.
    pub(crate) fn posts(&self) -> u64 {
        self.sandbox.received(&ReceivedFilter::default()).total
    }

    /// Waits until no command is left, as lost sessions return some, and drains the daemon by SIGTERM; asserts exit code 0,
    /// and no command or unroutable message left.
    pub(crate) async fn drain(&self, daemon: &Daemon) {
        let left = async || (self.queued().await, daemon.metric("courier_in_hand", &[]).await);
        eventually!(TIMEOUT, left().await, |left| *left == (0, 0.0), "no command in the queue or in hand");
        daemon.signal("TERM");
        assert_eq!(daemon.wait_exit(TIMEOUT).await, 0, "exit code of the daemon");
        for queue in ["commands", "unroutable"] {
            self.queues.client().expect_empty(&self.queues.name(queue)).await;
        }
    }

    /// Waits for `n` events and asserts that they are one `succeeded` event of each command `c-0` to `c-<n-1>`.
    pub(crate) async fn expect_all_succeeded(&self, n: u16) -> Vec<Value> {
        let events = self.queues.events(n).await;
        let by_id: BTreeMap<_, _> = events.iter().map(|event| (id(event), event)).collect();
        assert_eq!(by_id.len(), usize::from(n), "one event for each command: {events:?}");
        for index in 0..n {
            let event = by_id.get(format!("c-{index}").as_str()).unwrap_or_else(|| panic!("no event for c-{index}"));
            assert_eq!(event["outcome"], "succeeded", "{event}");
        }
        self.queues.client().expect_empty(&self.queues.name("events")).await;
        events
    }
}

/// The command `c-<index>`, to a device of this index.
pub(crate) fn command(index: u16, text: &str) -> Value {
    let device = format!("7900{index:07}");
    json!({"commandId": format!("c-{index}"), "text": text, "channelType": "WHATSAPP", "deviceAddress": device})
}

/// The command id of an event or a command body.
pub(crate) fn id(json: &Value) -> &str {
    json["commandId"].as_str().unwrap_or_else(|| panic!("no command id in {json}"))
}

/// Starts a daemon and waits until it consumes.
pub(crate) async fn start_ready(builder: &DaemonBuilder) -> Daemon {
    let daemon = builder.start().await;
    wait_ready(&daemon).await;
    daemon
}

/// Waits until `/readyz` reports that the daemon consumes, if only one command at a time.
pub(crate) async fn wait_ready(daemon: &Daemon) {
    eventually!(TIMEOUT, daemon.get("/readyz").await, is_consuming, "readiness");
}

/// Whether this response of `/readyz` reports that the daemon consumes.
pub(crate) fn is_consuming((status, body): &(u16, String)) -> bool {
    *status == 200 && body.starts_with("consuming")
}

/// Waits until `/readyz` answers 503 with a body that contains all these parts.
pub(crate) async fn wait_not_ready(daemon: &Daemon, parts: &[&str]) {
    let unready = |response: &(u16, String)| response.0 == 503 && parts.iter().all(|part| response.1.contains(part));
    eventually!(TIMEOUT, daemon.get("/readyz").await, unready, format!("503 with {parts:?}"));
    assert_eq!(daemon.get("/livez").await.0, 200, "still live: a restart would not help");
}
