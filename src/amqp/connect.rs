//! Connects to one of the broker's addresses, with timeouts.

use std::{fmt, io, net::Shutdown, sync::Mutex, time::Duration};

use lapin::{
    AsyncTcpStream, Connection, ConnectionProperties,
    tcp::OwnedTLSConfig,
    uri::{AMQPScheme, AMQPUri},
};
use socket2::{SockRef, Socket, TcpKeepalive};
use tokio::net::TcpStream;

use super::{error::SessionError, timeout::within};
use crate::sync::lock;

/// For DNS, TCP and TLS.
const TRANSPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// For the whole attempt, AMQP handshake included. Together with the longest backoff it bounds how long the daemon
/// stays disconnected after the network has recovered.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// A dead peer must not hold up the next connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The library checks a connection twice per heartbeat and drops it after two heartbeats without a read: within 10 s.
const HEARTBEAT_S: u16 = 4;
/// With a longer interval a dead peer would hold unacknowledged commands for minutes.
const MAX_HEARTBEAT_S: u16 = 60;
/// RabbitMQ's default. All headers of a message must fit into one frame: RabbitMQ splits bodies by the negotiated size,
/// but delivers headers as they were published. The library allocates 32 frames each way and takes 0 as "no limit".
const FRAME_MAX_BYTES: u32 = 131_072;
/// Finds a silently dead peer during the handshake, when no heartbeats are exchanged.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// The broker's addresses and the TLS settings to reach them with.
pub struct BrokerAddresses {
    uris: Vec<AMQPUri>,
    tls: OwnedTLSConfig,
    /// For one call of [`Self::connect`].
    connect_timeout: Duration,
}

/// Without the URIs: they contain passwords.
impl fmt::Debug for BrokerAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerAddresses").field("addresses", &self.uris.len()).finish_non_exhaustive()
    }
}

impl BrokerAddresses {
    /// `uris` in the order of preference, at least one.
    #[must_use]
    pub fn new(uris: Vec<AMQPUri>, tls: OwnedTLSConfig) -> Self {
        let uris = uris.into_iter().map(with_limits).collect();
        Self { uris, tls, connect_timeout: CONNECT_TIMEOUT }
    }

    /// Whether there is more than one address.
    pub(super) const fn has_several(&self) -> bool {
        self.uris.len() > 1
    }

    /// Connects to the address of this index, modulo their number; `name` identifies the connection in the management UI.
    ///
    /// # Errors
    /// [`SessionError::Connect`] or [`SessionError::Timeout`].
    pub async fn connect(&self, index: usize, name: &str) -> Result<Connection, SessionError> {
        Ok(self.connect_abortable(index, name).await?.0)
    }

    /// As [`Self::connect`], with a handle that aborts the connection.
    pub(super) async fn connect_abortable(
        &self,
        index: usize,
        name: &str,
    ) -> Result<(Connection, AbortHandle), SessionError> {
        let uri = self.uris.get(index % self.uris.len().max(1)).cloned().unwrap_or_default();
        let address = format!("{}:{}", uri.authority.host, uri.authority.port);
        match within(self.connect_timeout, "connect", self.open(uri, name)).await {
            Err(SessionError::Lapin(source)) => Err(SessionError::Connect { address, source }),
            other => other,
        }
    }

    /// Opens the stream here and hands it to the library: dropping this future closes it, while the library's own
    /// connecting would continue on a thread.
    async fn open(&self, uri: AMQPUri, name: &str) -> Result<(Connection, AbortHandle), lapin::Error> {
        let runtime = lapin::runtime::default_runtime()?;
        let transport = async {
            let (host, port) = (uri.authority.host.clone(), uri.authority.port);
            let stream = AsyncTcpStream::connect(&runtime, runtime.to_socket_addrs((host, port))).await?;
            let AsyncTcpStream::Plain(tcp) = &stream else { return Err(io::Error::from(io::ErrorKind::Unsupported)) };
            let guard = HandshakeGuard::new(tcp.get_ref())?;
            let stream = match uri.scheme {
                AMQPScheme::AMQP => stream,
                AMQPScheme::AMQPS => stream.into_tls(&uri.authority.host, self.tls.as_ref()).await?,
            };
            Ok((stream, guard))
        };
        let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
        let (stream, guard) = tokio::time::timeout(TRANSPORT_TIMEOUT, transport).await.map_err(timed_out)??;

        let stream = Mutex::new(Some(stream));
        let take_stream =
            async move |_, _| lock(&stream).take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected).into());
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connection = Connection::connector(uri, runtime, take_stream, properties).await?;
        Ok((connection, guard.disarm()))
    }
}

/// Shuts the socket down when dropped before the handshake is over.
///
/// The library's I/O loop is a thread that waits for the peer, even after the connecting future is dropped; only a
/// socket that is shut down ends it.
struct HandshakeGuard(Option<Socket>);

impl HandshakeGuard {
    fn new(tcp: &TcpStream) -> io::Result<Self> {
        let socket = SockRef::from(tcp);
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
        Ok(Self(Some(socket.try_clone()?)))
    }

    /// Leaves the connection to its heartbeats.
    fn disarm(mut self) -> AbortHandle {
        AbortHandle(self.0.take())
    }
}

impl Drop for HandshakeGuard {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            // Fails if the peer has closed the connection already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Closes the socket of a connection without a handshake, for a broker that is sending more than fits. Must not outlive the
/// connection: it keeps the socket open.
pub(super) struct AbortHandle(Option<Socket>);

impl AbortHandle {
    pub(super) fn abort(&self) {
        if let Some(socket) = &self.0 {
            // Fails if the peer has closed the connection already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Overrides the URL's frame size and bounds its heartbeat; the library takes a heartbeat of 0 as "never".
fn with_limits(mut uri: AMQPUri) -> AMQPUri {
    let heartbeat = uri.query.heartbeat.filter(|heartbeat| *heartbeat > 0);
    uri.query.heartbeat = Some(heartbeat.unwrap_or(HEARTBEAT_S).min(MAX_HEARTBEAT_S));
    uri.query.frame_max = Some(FRAME_MAX_BYTES);
    uri
}

/// Closes the connection; after [`CLOSE_TIMEOUT`] it is just dropped.
pub(super) async fn close(connection: Connection) {
    drop(within(CLOSE_TIMEOUT, "connection.close", connection.close(200, "done".into())).await);
}

#[cfg(test)]
mod tests;
