//! What most tests stand on: queues, the sandbox as the API, and a daemon between them.

use std::{collections::BTreeMap, net::Ipv4Addr};

use edna_courier::sandbox::{Options, ReceivedFilter, Sandbox};
use serde_json::{Value, json};

use super::{
    SOON,
    broker::Broker,
    daemon::{Daemon, Setup},
    eventually::eventually,
    queues::Queues,
};

/// Queues and a sandbox of a test's own. Keep it longer than its daemons: create it first.
pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    pub(crate) queues: Queues,
}

impl Stage {
    /// With a sandbox that is fast and accepts any token.
    pub(crate) async fn new(test: &str) -> Self {
        Self::with(test, Options::default()).await
    }

    /// With this sandbox.
    pub(crate) async fn with(test: &str, options: Options) -> Self {
        Self::on(Broker::shared().await, test, options).await
    }

    /// With this broker, too.
    pub(crate) async fn on(broker: &Broker, test: &str, options: Options) -> Self {
        let sandbox = Sandbox::start((Ipv4Addr::LOCALHOST, 0).into(), options).expect("a free port");
        Self { sandbox, queues: Queues::on(broker, test).await }
    }

    /// A daemon between the two that declares its topology. It has the token `t`.
    pub(crate) fn setup(&self) -> Setup {
        self.setup_without_token().set("api.token", "t")
    }

    /// The same for another kind of credential.
    pub(crate) fn setup_without_token(&self) -> Setup {
        let api = format!("http://{}", self.sandbox.addr());
        Setup::new().on(&self.queues).set("broker.declare", "true").set("api.base_url", &api)
    }

    /// Sends `n` commands, `c-0`, `c-1`, … with this text, each to a device of its own.
    pub(crate) async fn send(&self, n: u16, text: &str) {
        for index in 0..n {
            self.queues.send(&command(index, text)).await;
        }
    }

    /// Ready commands in the queue; those in a daemon's hands do not count.
    pub(crate) async fn waiting(&self) -> u32 {
        self.queues.client().depth(&self.queues.name("commands")).await
    }

    /// Requests that reached the API so far.
    pub(crate) fn posts(&self) -> u64 {
        self.sandbox.received(&ReceivedFilter::default()).total
    }

    /// Asks the daemon to stop and insists that it ends well and leaves no command and no stray message behind.
    pub(crate) async fn end(&self, daemon: &Daemon) {
        daemon.signal("TERM");
        assert_eq!(daemon.wait_exit(SOON).await, 0, "the exit code");
        for queue in ["commands", "unroutable"] {
            self.queues.client().expect_empty(&self.queues.name(queue)).await;
        }
    }

    /// Waits for `n` events of success and insists that they are of the commands `c-0`, `c-1`, …, each once.
    pub(crate) async fn expect_success_of_all(&self, n: u16) -> Vec<Value> {
        let events = self.queues.events(n).await;
        let by_id: BTreeMap<_, _> = events.iter().map(|event| (id(event), event)).collect();
        assert_eq!(by_id.len(), usize::from(n), "an event each: {events:?}");
        for index in 0..n {
            let event = by_id.get(format!("c-{index}").as_str()).unwrap_or_else(|| panic!("no event of c-{index}"));
            assert_eq!(event["outcome"], "succeeded", "{event}");
        }
        self.queues.client().expect_empty(&self.queues.name("events")).await;
        events
    }
}

/// The command `c-<index>`, to a device of its own.
pub(crate) fn command(index: u16, text: &str) -> Value {
    let device = format!("7900{index:07}");
    json!({"commandId": format!("c-{index}"), "text": text, "channelType": "WHATSAPP", "deviceAddress": device})
}

/// Whose event, or whose body, this is.
pub(crate) fn id(json: &Value) -> &str {
    json["commandId"].as_str().unwrap_or_else(|| panic!("no command id in {json}"))
}

/// Starts a daemon and waits until it takes commands.
pub(crate) async fn start_ready(setup: &Setup) -> Daemon {
    let daemon = setup.start().await;
    ready(&daemon).await;
    daemon
}

/// Waits until the daemon takes commands.
pub(crate) async fn ready(daemon: &Daemon) {
    let told = (200, "consuming\n".to_owned());
    eventually!(SOON, daemon.get("/readyz").await, |answer| *answer == told, "readiness");
}

/// Waits until the daemon says at `/readyz` that it is not ready, and why: every one of these parts.
pub(crate) async fn not_ready(daemon: &Daemon, parts: &[&str]) {
    let wanted = |answer: &(u16, String)| answer.0 == 503 && parts.iter().all(|part| answer.1.contains(part));
    eventually!(SOON, daemon.get("/readyz").await, wanted, format!("503 with {parts:?}"));
    assert_eq!(daemon.get("/livez").await.0, 200, "a restart would not help");
}
