//! The RabbitMQ broker that the tests of one process share.
//!
//! `EDNA_COURIER_TEST_AMQP_URL` names a running broker, and `EDNA_COURIER_TEST_MANAGEMENT_URL` its management API, by default
//! on port 15672 of the same host. Without it, a container is started, or else a private `rabbitmq-server` process.
//! `EDNA_COURIER_TEST_BROKER` = `url`, `container` or `process` forces one of the three. Without any broker, tests fail.

mod container;
mod node;
mod reaper;

use std::{env, net::SocketAddr, process::Command, sync::Arc, time::Duration};

use lapin::{Connection, ConnectionProperties, uri::AMQPUri};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use self::{container::Container, node::Node};
use super::{TIMEOUT, eventually::poll, unique_name};

const URL: &str = "EDNA_COURIER_TEST_AMQP_URL";
const MANAGEMENT_URL: &str = "EDNA_COURIER_TEST_MANAGEMENT_URL";
const CHOICE: &str = "EDNA_COURIER_TEST_BROKER";
/// The Erlang VM starts slowly while a compiler uses the CPU.
const START_TIMEOUT: Duration = Duration::from_secs(120);
const ADVICE: &str = "no RabbitMQ broker for the tests; do one of these:\n\
    - start one and set EDNA_COURIER_TEST_AMQP_URL=amqp://user:password@host:5672/%2f\n\
    - start Docker, with the image rabbitmq:4-management there or pullable\n\
    - install the package rabbitmq-server";

/// A running RabbitMQ broker. A container or process started for it is removed when the last clone is dropped or this
/// process exits.
#[derive(Clone, Debug)]
pub(crate) struct Broker {
    url: String,
    management_url: String,
    backend: Arc<Backend>,
}

/// What runs the broker.
#[derive(Debug)]
enum Backend {
    /// Not started here.
    External,
    Container(Container),
    Process(Node),
}

impl Broker {
    /// The broker that the tests of this process share, started by the first call.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceCell<Result<Broker, String>> = OnceCell::const_new();
        let broker =
            SHARED.get_or_init(|| async { Self::choose().await.map_err(|error| format!("{ADVICE}\n{error}")) });
        broker.await.as_ref().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts a private broker; takes about ten seconds.
    pub(crate) async fn start_private() -> Self {
        Self::start_any().await.unwrap_or_else(|error| panic!("{ADVICE}\n{error}"))
    }

    /// Locks a private broker for a test that stops or reconfigures it. The test must restore its state before the guard
    /// drops, as the next test of this process gets the same broker.
    pub(crate) async fn exclusive() -> MutexGuard<'static, Self> {
        static PRIVATE: OnceCell<Mutex<Broker>> = OnceCell::const_new();
        PRIVATE.get_or_init(|| async { Mutex::new(Self::start_private().await) }).await.lock().await
    }

    async fn choose() -> Result<Self, String> {
        match (env::var(CHOICE).as_deref(), env::var(URL)) {
            (Ok("url") | Err(_), Ok(url)) => Self::external(url, TIMEOUT).await,
            (Ok("url"), Err(_)) => Err(format!("{CHOICE}=url needs {URL}")),
            _ => Self::start_any().await,
        }
    }

    async fn start_any() -> Result<Self, String> {
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

    /// A running broker at this URL, without control over its node.
    pub(crate) async fn external(url: String, deadline: Duration) -> Result<Self, String> {
        wait_for_amqp(&url, deadline).await?;
        let uri: AMQPUri = url.parse().expect("a URL that was connected to");
        let management_url =
            env::var(MANAGEMENT_URL).unwrap_or_else(|_| format!("http://{}:15672", uri.authority.host));
        Ok(Self { url, management_url, backend: Arc::new(Backend::External) })
    }

    async fn container() -> Result<Self, String> {
        let (container, ports) = blocking(|| Container::start(new_name(), START_TIMEOUT))
            .await
            .map_err(|error| format!("container: {error}"))?;
        Self::on_loopback(ports, Backend::Container(container)).await
    }

    async fn process() -> Result<Self, String> {
        let node = blocking(|| Node::start(&new_name(), None)).await.map_err(|error| format!("process: {error}"))?;
        Self::on_loopback(node.ports(), Backend::Process(node)).await.map_err(|error| format!("process: {error}"))
    }

    async fn on_loopback([amqp, management]: [u16; 2], backend: Backend) -> Result<Self, String> {
        let broker = Self {
            url: format!("amqp://guest:guest@127.0.0.1:{amqp}/%2f"),
            management_url: format!("http://127.0.0.1:{management}"),
            backend: Arc::new(backend),
        };
        match (wait_for_amqp(&broker.url, START_TIMEOUT).await, &*broker.backend) {
            (Ok(()), _) => Ok(broker),
            (Err(error), Backend::Process(node)) => {
                Err(format!("{error}; the node's log ends with\n{}", node.log_end()))
            }
            (Err(error), _) => Err(error),
        }
    }

    /// The AMQP URL, with credentials and virtual host.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The URL of the management API, without credentials.
    pub(crate) fn management_url(&self) -> &str {
        &self.management_url
    }

    /// The AMQP URL with the address of a proxy.
    pub(crate) fn url_at(&self, address: SocketAddr) -> String {
        let mut uri = self.uri();
        uri.authority.host = address.ip().to_string();
        uri.authority.port = address.port();
        uri.to_string()
    }

    /// `host:port`, the upstream of a proxy.
    pub(crate) fn host_and_port(&self) -> String {
        let authority = self.uri().authority;
        format!("{}:{}", authority.host, authority.port)
    }

    fn uri(&self) -> AMQPUri {
        self.url.parse().expect("a URL that was connected to")
    }

    /// Runs `rabbitmqctl` on the broker's node and returns its standard output.
    ///
    /// # Errors
    /// The error output of `rabbitmqctl`; always an error for an external broker.
    pub(crate) async fn rabbitmqctl(&self, args: &[&str]) -> Result<String, String> {
        let mut command = match &*self.backend {
            Backend::External => {
                return Err("rabbitmqctl cannot reach an external broker: use a private one".to_owned());
            }
            Backend::Container(container) => container.rabbitmqctl(),
            Backend::Process(node) => node.rabbitmqctl(),
        };
        command.args(args);
        blocking(move || run_command(&mut command)).await
    }

    /// Stops the RabbitMQ application: connections are closed, new ones refused, durable data is kept.
    pub(crate) async fn stop(&self) {
        self.rabbitmqctl(&["stop_app"]).await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Starts the application again, on the same address, and waits until it accepts connections.
    pub(crate) async fn start(&self) {
        self.rabbitmqctl(&["start_app"]).await.unwrap_or_else(|error| panic!("{error}"));
        wait_for_amqp(&self.url, START_TIMEOUT).await.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A name for a container or a node's directory of this process.
fn new_name() -> String {
    unique_name(&name_prefix(std::process::id()))
}

/// The name prefix of the containers and node directories of a test process.
pub(crate) fn name_prefix(process_id: u32) -> String {
    format!("edna-courier-test-{process_id}")
}

/// Waits until the broker accepts an AMQP connection.
async fn wait_for_amqp(url: &str, deadline: Duration) -> Result<(), String> {
    let connect = async || {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.map_err(|e| e.to_string())?;
        connection.close(200, "".into()).await.map_err(|e| e.to_string())
    };
    match poll(deadline, connect, Result::is_ok).await {
        Ok(answer) => answer,
        Err(last) => Err(format!("no AMQP connection within {deadline:?}; the last attempt: {last}")),
    }
}

/// Runs blocking work on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

/// Runs a command to completion and returns its standard output; on failure, its standard error.
pub(crate) fn run_command(command: &mut Command) -> Result<String, String> {
    let done = command.output().map_err(|e| format!("{:?}: {e}", command.get_program()))?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        Err(format!("{command:?} ended with {}: {}", done.status, String::from_utf8_lossy(&done.stderr)))
    }
}
