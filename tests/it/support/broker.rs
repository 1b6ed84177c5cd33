//! One real broker for the test process, from one place.
//!
//! `EDNA_COURIER_TEST_AMQP_URL` names a running one; else a container is started; else a private `rabbitmq-server`.
//! `EDNA_COURIER_TEST_BROKER` = `url`, `container` or `process` forces one of the three. No broker is a loud failure.

mod container;
mod guardian;
mod node;

use std::{env, net::SocketAddr, process::Command, sync::Arc, time::Duration};

use lapin::{Connection, ConnectionProperties, uri::AMQPUri};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use self::{container::Container, node::Node};
use super::{SOON, eventually::poll};

const URL: &str = "EDNA_COURIER_TEST_AMQP_URL";
const CHOICE: &str = "EDNA_COURIER_TEST_BROKER";
/// Erlang starts slowly on a machine that runs a compiler beside it.
const START_LIMIT: Duration = Duration::from_secs(120);
const REMEDY: &str = "no RabbitMQ for the tests; do one of these:\n\
    - start one and set EDNA_COURIER_TEST_AMQP_URL=amqp://user:password@host:5672/%2f\n\
    - start Docker, with the image rabbitmq:4-management there or pullable\n\
    - install the package rabbitmq-server";

/// A running RabbitMQ. What was started for it is removed when its last clone is dropped or this process is gone.
#[derive(Clone, Debug)]
pub(crate) struct Broker {
    url: String,
    home: Arc<Home>,
}

/// Where the broker runs.
#[derive(Debug)]
enum Home {
    Elsewhere,
    Container(Container),
    Process(Node),
}

impl Broker {
    /// The broker that the tests of this process share; started by the first that asks.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceCell<Result<Broker, String>> = OnceCell::const_new();
        let broker = SHARED.get_or_init(|| async { Self::choose().await.map_err(|why| format!("{REMEDY}\n{why}")) });
        broker.await.as_ref().unwrap_or_else(|why| panic!("{why}"))
    }

    /// A broker of one's own; takes some ten seconds to start.
    pub(crate) async fn fresh() -> Self {
        Self::own().await.unwrap_or_else(|why| panic!("{REMEDY}\n{why}"))
    }

    /// The broker of this process for tests that stop it or turn its knobs, one after the other. Whoever has it leaves it
    /// as it was.
    pub(crate) async fn to_oneself() -> MutexGuard<'static, Self> {
        static TROUBLED: OnceCell<Mutex<Broker>> = OnceCell::const_new();
        TROUBLED.get_or_init(|| async { Mutex::new(Self::fresh().await) }).await.lock().await
    }

    async fn choose() -> Result<Self, String> {
        match (env::var(CHOICE).as_deref(), env::var(URL)) {
            (Ok("url") | Err(_), Ok(url)) => Self::elsewhere(url, SOON).await,
            (Ok("url"), Err(_)) => Err(format!("{CHOICE}=url needs {URL}")),
            _ => Self::own().await,
        }
    }

    async fn own() -> Result<Self, String> {
        match env::var(CHOICE).as_deref() {
            Ok("container") => Self::container().await,
            Ok("process") => Self::process().await,
            Ok("url") | Err(_) => match Self::container().await {
                Ok(broker) => Ok(broker),
                Err(container) => Self::process().await.map_err(|process| format!("{container}\n{process}")),
            },
            Ok(other) => Err(format!("{CHOICE}={other} is none of url, container, process")),
        }
    }

    /// The running broker of this URL; nobody here has control over it.
    pub(crate) async fn elsewhere(url: String, deadline: Duration) -> Result<Self, String> {
        answers(&url, deadline).await?;
        Ok(Self { url, home: Arc::new(Home::Elsewhere) })
    }

    async fn container() -> Result<Self, String> {
        let (container, port) = blocking(Container::start).await.map_err(|why| format!("container: {why}"))?;
        Self::on_loopback(port, Home::Container(container)).await
    }

    async fn process() -> Result<Self, String> {
        let node = blocking(Node::start).await.map_err(|why| format!("process: {why}"))?;
        Self::on_loopback(node.port(), Home::Process(node)).await.map_err(|why| format!("process: {why}"))
    }

    async fn on_loopback(port: u16, home: Home) -> Result<Self, String> {
        let broker = Self { url: format!("amqp://guest:guest@127.0.0.1:{port}/%2f"), home: Arc::new(home) };
        match (answers(&broker.url, START_LIMIT).await, &*broker.home) {
            (Ok(()), _) => Ok(broker),
            (Err(why), Home::Process(node)) => Err(format!("{why}; the node's log ends with\n{}", node.log_end())),
            (Err(why), _) => Err(why),
        }
    }

    /// Its address with credentials and virtual host.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The same through another door: a proxy.
    pub(crate) fn url_at(&self, address: SocketAddr) -> String {
        let mut uri = self.uri();
        uri.authority.host = address.ip().to_string();
        uri.authority.port = address.port();
        uri.to_string()
    }

    /// `host:port`, for a proxy to connect to.
    pub(crate) fn host_and_port(&self) -> String {
        let authority = self.uri().authority;
        format!("{}:{}", authority.host, authority.port)
    }

    fn uri(&self) -> AMQPUri {
        self.url.parse().expect("connected with it before")
    }

    /// Runs `rabbitmqctl` on the broker's node and returns what it printed.
    ///
    /// # Errors
    /// What it complained about; always for a broker that was given by its URL.
    pub(crate) async fn rabbitmqctl(&self, args: &[&str]) -> Result<String, String> {
        let mut command = match &*self.home {
            Home::Elsewhere => {
                return Err("no control over a broker that was given by its URL: use a fresh one".to_owned());
            }
            Home::Container(container) => container.rabbitmqctl(),
            Home::Process(node) => node.rabbitmqctl(),
        };
        command.args(args);
        blocking(move || output(&mut command)).await
    }

    /// Stops the broker inside its node: connections are closed, new ones are refused, what is durable stays.
    pub(crate) async fn stop(&self) {
        self.rabbitmqctl(&["stop_app"]).await.unwrap_or_else(|why| panic!("{why}"));
    }

    /// Starts it again, at the same address, and waits until it answers.
    pub(crate) async fn start(&self) {
        self.rabbitmqctl(&["start_app"]).await.unwrap_or_else(|why| panic!("{why}"));
        answers(&self.url, START_LIMIT).await.unwrap_or_else(|why| panic!("{why}"));
    }
}

/// What the name of a test process's containers and of its nodes' directories starts with.
pub(crate) fn stem(process_id: u32) -> String {
    format!("edna-courier-test-{process_id}")
}

/// Waits until the broker takes an AMQP connection.
async fn answers(url: &str, deadline: Duration) -> Result<(), String> {
    let connect = async || {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.map_err(|e| e.to_string())?;
        connection.close(200, "".into()).await.map_err(|e| e.to_string())
    };
    match poll(deadline, connect, Result::is_ok).await {
        Ok(answer) => answer,
        Err(last) => Err(format!("no AMQP connection within {deadline:?}; the last try: {last}")),
    }
}

/// Runs something that blocks, away from the test's own thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the work does not panic")
}

/// Runs a command to its end and returns what it printed, or what it complained about.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let done = command.output().map_err(|e| format!("{:?}: {e}", command.get_program()))?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        Err(format!("{command:?} ended with {}: {}", done.status, String::from_utf8_lossy(&done.stderr)))
    }
}
