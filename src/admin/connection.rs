//! Connections that can't pile up: so many at a time, each for so long.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};

/// More wait in the system's backlog.
const MAX_CONNECTIONS: usize = 64;

/// From accept to close; a scrape takes milliseconds.
const MAX_TIME: Duration = Duration::from_secs(10);

/// Accepts while there is room.
#[derive(Debug)]
pub(super) struct Bounded {
    listener: TcpListener,
    room: Arc<Semaphore>,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, room: Arc::new(Semaphore::new(MAX_CONNECTIONS)) }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // An error would mean that the semaphore is closed, and nobody closes it.
        let room = Arc::clone(&self.room).acquire_owned().await.ok();
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (Connection { stream, deadline: Box::pin(sleep(MAX_TIME)), _room: room }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails once its time is over, whatever the peer does or doesn't.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    /// Its place among the [`MAX_CONNECTIONS`], free again when it is dropped.
    _room: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// Pending while there is time; only asked when the peer makes us wait.
    fn time_is_over<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending => self.time_is_over(cx),
            read => read,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Pending => self.time_is_over(cx),
            written => written,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::Instant,
    };

    use super::*;

    async fn bound() -> (Bounded, SocketAddr) {
        let bounded = Bounded::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = bounded.local_addr().unwrap();
        (bounded, address)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_nothing_is_let_go() {
        let (mut bounded, address) = bound().await;
        let mut peer = TcpStream::connect(address).await.unwrap();
        let accepted = Instant::now();
        let (mut connection, _) = bounded.accept().await;
        peer.write_all(b"GET").await.unwrap();
        connection.read_exact(&mut [0; 3]).await.unwrap();
        let error = connection.read_u8().await.unwrap_err();
        assert_eq!((error.kind(), accepted.elapsed().as_secs()), (io::ErrorKind::TimedOut, MAX_TIME.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_let_go() {
        let (mut bounded, address) = bound().await;
        let _peer = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = bounded.accept().await;
        let more_than_fits = vec![0; 64 << 20];
        let error = connection.write_all(&more_than_fits).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn one_more_is_accepted_when_one_has_gone() {
        let (mut bounded, address) = bound().await;
        let mut connections = Vec::new();
        let mut peers = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            peers.push(TcpStream::connect(address).await.unwrap());
            connections.push(bounded.accept().await.0);
        }
        peers.push(TcpStream::connect(address).await.unwrap());
        let mut one_more = Box::pin(bounded.accept());
        assert!(futures_util::poll!(one_more.as_mut()).is_pending());
        connections.pop();
        one_more.await;
    }
}
