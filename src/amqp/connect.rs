//! Connecting to one of the broker's addresses, with deadlines.

use std::{
    future::Future,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use lapin::{
    Connection, ConnectionProperties,
    tcp::{AMQPUriTcpExt, OwnedTLSConfig},
    uri::AMQPUri,
};

use super::error::SessionError;

/// TCP and TLS.
const TRANSPORT_DEADLINE: Duration = Duration::from_secs(5);
/// All of it, the AMQP handshake included.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Any single operation on an open connection.
const OPERATION_DEADLINE: Duration = Duration::from_secs(10);
/// Dead peers are noticed after twice this.
const HEARTBEAT_S: u16 = 10;
/// RabbitMQ's own default; the library sizes its buffers by it and would take the largest if the broker named none.
const FRAME_MAX_BYTES: u32 = 131_072;

/// Where the broker is and how to reach it.
#[derive(Debug)]
pub struct Broker {
    uris: Vec<AMQPUri>,
    tls: OwnedTLSConfig,
    /// Which address is next; a failed one sends us to the following.
    next: AtomicUsize,
}

impl Broker {
    /// `uris` in the order of preference, at least one.
    #[must_use]
    pub fn new(uris: Vec<AMQPUri>, tls: OwnedTLSConfig) -> Self {
        let uris = uris.into_iter().map(with_our_limits).collect();
        Self { uris, tls, next: AtomicUsize::new(0) }
    }

    /// Connects to the next address under a name that the management UI shows.
    ///
    /// # Errors
    /// [`SessionError::Connect`] or [`SessionError::Deadline`]; the following call tries the following address.
    pub async fn connect(&self, name: &str) -> Result<Connection, SessionError> {
        let turn = self.next.load(Ordering::Relaxed);
        let uri = self.uris.get(turn % self.uris.len().max(1)).cloned().unwrap_or_default();
        let address = format!("{}:{}", uri.authority.host, uri.authority.port);
        let result = within_deadline("connect", CONNECT_DEADLINE, self.open(uri, name)).await;
        if result.is_err() {
            self.next.fetch_add(1, Ordering::Relaxed);
        }
        match result {
            Err(SessionError::Broken(source)) => Err(SessionError::Connect { address, source }),
            other => other,
        }
    }

    async fn open(&self, uri: AMQPUri, name: &str) -> Result<Connection, lapin::Error> {
        let tls = self.tls.clone();
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let runtime = lapin::runtime::default_runtime()?;
        // The library ignores its own connection time-out on this path, so the transport gets ours.
        let transport = async move |uri: AMQPUri, runtime| {
            let connecting = AMQPUriTcpExt::connect_with_config_async(&uri, tls.as_ref(), &runtime);
            match tokio::time::timeout(TRANSPORT_DEADLINE, connecting).await {
                Ok(stream) => Ok(stream?),
                Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
            }
        };
        Connection::connector(uri, runtime, transport, properties).await
    }
}

fn with_our_limits(mut uri: AMQPUri) -> AMQPUri {
    uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
    uri.query.frame_max.get_or_insert(FRAME_MAX_BYTES);
    uri
}

/// No call to the library is trusted to come back: [`OPERATION_DEADLINE`] for each.
pub(super) async fn timed<T>(
    operation: &'static str,
    call: impl Future<Output = Result<T, lapin::Error>>,
) -> Result<T, SessionError> {
    within_deadline(operation, OPERATION_DEADLINE, call).await
}

async fn within_deadline<T>(
    operation: &'static str,
    deadline: Duration,
    call: impl Future<Output = Result<T, lapin::Error>>,
) -> Result<T, SessionError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(SessionError::Deadline { operation, deadline }),
    }
}

/// Closes politely, and gives up on a peer that does not answer: the connection is dropped either way.
pub(super) async fn close(connection: Connection) {
    drop(timed("connection.close", connection.close(200, "done".into())).await);
}
