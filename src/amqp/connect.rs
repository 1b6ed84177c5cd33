//! Connecting to one of the broker's addresses, with deadlines.

use std::{
    fmt,
    future::Future,
    io,
    net::Shutdown,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use lapin::{
    AsyncTcpStream, Connection, ConnectionProperties,
    tcp::OwnedTLSConfig,
    uri::{AMQPScheme, AMQPUri},
};
use socket2::{SockRef, Socket, TcpKeepalive};
use tokio::{net::TcpStream, time::Instant};

use super::error::SessionError;

/// DNS, TCP and TLS.
const TRANSPORT_DEADLINE: Duration = Duration::from_secs(5);
/// All of it, the AMQP handshake included. An attempt that began just before the network was mended and gets no answer
/// any more, and the wait after it, are the longest that we stay away without need.
const CONNECT_DEADLINE: Duration = Duration::from_secs(8);
/// Any single operation on an open connection.
pub(super) const OPERATION_DEADLINE: Duration = Duration::from_secs(10);
/// For a goodbye; a peer that is gone must not hold up the next connection.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);
/// Dead peers are noticed after twice this.
const HEARTBEAT_S: u16 = 10;
/// With a longer one a dead peer would hold our commands for minutes.
const MAX_HEARTBEAT_S: u16 = 60;
/// RabbitMQ's default. All headers of a message must fit into one frame: RabbitMQ splits bodies by the negotiated size, but
/// delivers headers as they were published. The library allocates 32 frames each way and takes 0 as "no limit".
const FRAME_MAX_BYTES: u32 = 131_072;
/// Finds a peer that went away without a word, also where nobody listens for heartbeats any more.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Where the broker is and how to reach it.
pub struct Broker {
    uris: Vec<AMQPUri>,
    tls: OwnedTLSConfig,
    /// For one call of [`Self::connect`] in all.
    deadline: Duration,
    /// Which address is next; a failed one sends us to the following.
    next: AtomicUsize,
}

/// Without the URIs: passwords stand in them.
impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("addresses", &self.uris.len()).finish_non_exhaustive()
    }
}

impl Broker {
    /// `uris` in the order of preference, at least one.
    #[must_use]
    pub fn new(uris: Vec<AMQPUri>, tls: OwnedTLSConfig) -> Self {
        let uris = uris.into_iter().map(with_our_limits).collect();
        Self { uris, tls, deadline: CONNECT_DEADLINE, next: AtomicUsize::new(0) }
    }

    /// Connects to the next address under a name that the management UI shows.
    ///
    /// # Errors
    /// [`SessionError::Connect`] or [`SessionError::Deadline`]; the following call tries the following address.
    pub async fn connect(&self, name: &str) -> Result<Connection, SessionError> {
        let turn = self.next.load(Ordering::Relaxed);
        let uri = self.uris.get(turn % self.uris.len().max(1)).cloned().unwrap_or_default();
        let address = format!("{}:{}", uri.authority.host, uri.authority.port);
        let result = within_deadline("connect", self.deadline, self.open(uri, name)).await;
        if result.is_err() {
            self.next.fetch_add(1, Ordering::Relaxed);
        }
        match result {
            Err(SessionError::Broken(source)) => Err(SessionError::Connect { address, source }),
            other => other,
        }
    }

    /// The library gets a stream that is open already: its own connecting goes on in a thread when nobody waits for it
    /// any more, ours ends when it is dropped.
    async fn open(&self, uri: AMQPUri, name: &str) -> Result<Connection, lapin::Error> {
        let runtime = lapin::runtime::default_runtime()?;
        let transport = async {
            let (host, port) = (uri.authority.host.clone(), uri.authority.port);
            let stream = AsyncTcpStream::connect(&runtime, runtime.to_socket_addrs((host, port))).await?;
            let AsyncTcpStream::Plain(tcp) = &stream else { return Err(io::Error::from(io::ErrorKind::Unsupported)) };
            let line = Line::new(tcp.get_ref())?;
            let stream = match uri.scheme {
                AMQPScheme::AMQP => stream,
                AMQPScheme::AMQPS => stream.into_tls(&uri.authority.host, self.tls.as_ref()).await?,
            };
            Ok((stream, line))
        };
        let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
        let (stream, line) = tokio::time::timeout(TRANSPORT_DEADLINE, transport).await.map_err(timed_out)??;

        let stream = Mutex::new(Some(stream));
        let hand_over = async move |_, _| {
            let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
            stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected).into())
        };
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connection = Connection::connector(uri, runtime, hand_over, properties).await?;
        line.keep();
        Ok(connection)
    }
}

/// A second hold on the socket, for the handshake. The library's I/O loop is a thread that waits for the peer, whether
/// or not anybody still waits for the loop; only a socket that is shut down ends it. So a line that is dropped before
/// it is kept hangs up.
struct Line(Option<Socket>);

impl Line {
    fn new(tcp: &TcpStream) -> io::Result<Self> {
        let socket = SockRef::from(tcp);
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
        Ok(Self(Some(socket.try_clone()?)))
    }

    /// The handshake is over: from here on heartbeats look after the connection.
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            // It fails when the peer was faster, which is as good.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Overrides the URL's frame size and bounds its heartbeat; the library takes a heartbeat of 0 as "never".
fn with_our_limits(mut uri: AMQPUri) -> AMQPUri {
    let heartbeat = uri.query.heartbeat.filter(|heartbeat| *heartbeat > 0);
    uri.query.heartbeat = Some(heartbeat.unwrap_or(HEARTBEAT_S).min(MAX_HEARTBEAT_S));
    uri.query.frame_max = Some(FRAME_MAX_BYTES);
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

/// Pends while there is no such time.
pub(super) async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Closes politely, and soon gives up on a peer that does not answer: the connection is dropped either way.
pub(super) async fn close(connection: Connection) {
    drop(within_deadline("connection.close", CLOSE_DEADLINE, connection.close(200, "done".into())).await);
}

#[cfg(test)]
mod tests;
