//! Connecting to one of the broker's addresses, with deadlines.

use std::{
    fmt,
    future::Future,
    io,
    net::Shutdown,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
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
/// RabbitMQ's own default; the library sizes its buffers by it and would take the largest if the broker named none.
const MAX_FRAME_MAX_BYTES: u32 = 131_072;
/// What RabbitMQ 4.1 asks for at least. The library's buffers are 32 frames each way, and in time all of a buffer is used: so small
/// frames where they do. A body may take several, the headers of a message must fit into one: those that we publish are bounded,
/// those that others publish are seldom as large; see [`Broker::need_large_frames`].
const MIN_FRAME_MAX_BYTES: u32 = 8_192;
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
    /// Somebody publishes headers that are too large for small frames.
    needs_large_frames: AtomicBool,
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
        Self {
            uris,
            tls,
            deadline: CONNECT_DEADLINE,
            next: AtomicUsize::new(0),
            needs_large_frames: AtomicBool::new(false),
        }
    }

    /// Connects to the next address under a name that the management UI shows.
    ///
    /// # Errors
    /// [`SessionError::Connect`] or [`SessionError::Deadline`]; the following call tries the following address.
    pub async fn connect(&self, name: &str) -> Result<Connection, SessionError> {
        self.connect_with(name, MAX_FRAME_MAX_BYTES).await
    }

    /// As [`Self::connect`], for what we publish ourselves: its headers are bounded, so small frames do.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub(super) async fn connect_to_publish(&self, name: &str) -> Result<Connection, SessionError> {
        self.connect_with(name, MIN_FRAME_MAX_BYTES).await
    }

    /// As [`Self::connect`], for what others publish: in small frames, until [told](Self::need_large_frames) that they do not do.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub(super) async fn connect_to_consume(&self, name: &str) -> Result<Connection, SessionError> {
        let is_large = self.needs_large_frames.load(Ordering::Relaxed);
        self.connect_with(name, if is_large { MAX_FRAME_MAX_BYTES } else { MIN_FRAME_MAX_BYTES }).await
    }

    /// From now on for what is consumed, too.
    pub(super) fn need_large_frames(&self) {
        self.needs_large_frames.store(true, Ordering::Relaxed);
    }

    async fn connect_with(&self, name: &str, frame_max: u32) -> Result<Connection, SessionError> {
        let turn = self.next.load(Ordering::Relaxed);
        let mut uri = self.uris.get(turn % self.uris.len().max(1)).cloned().unwrap_or_default();
        uri.query.frame_max = uri.query.frame_max.map(|asked| asked.min(frame_max));
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

/// Whatever the URL asks for, peers are watched, buffers are bounded, and what we publish fits: to the library, 0 means
/// "no limit" for the frames and "never" for heartbeats.
fn with_our_limits(mut uri: AMQPUri) -> AMQPUri {
    let (heartbeat, frame_max) = (uri.query.heartbeat.unwrap_or(0), uri.query.frame_max.unwrap_or(0));
    let heartbeat = if heartbeat == 0 { HEARTBEAT_S } else { heartbeat.min(MAX_HEARTBEAT_S) };
    let frame_max = if frame_max == 0 { MAX_FRAME_MAX_BYTES } else { frame_max };
    uri.query.heartbeat = Some(heartbeat);
    uri.query.frame_max = Some(frame_max.clamp(MIN_FRAME_MAX_BYTES, MAX_FRAME_MAX_BYTES));
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
