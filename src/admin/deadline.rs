//! A TCP stream with a deadline, so that a slow peer cannot occupy a connection.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use crate::listener::ConnectionPermit;

/// From accept to close; a scrape takes milliseconds.
const MAX_CONNECTION_TIME: Duration = Duration::from_secs(10);

/// A stream with a deadline. Pending reads and writes fail with `TimedOut` once it has passed.
#[derive(Debug)]
pub(super) struct DeadlineStream {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    _permit: ConnectionPermit,
}

impl DeadlineStream {
    pub(super) fn new(stream: TcpStream, permit: ConnectionPermit) -> Self {
        Self { stream, deadline: Box::pin(sleep(MAX_CONNECTION_TIME)), _permit: permit }
    }

    /// For a pending operation: an error once the deadline has passed.
    fn poll_deadline<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for DeadlineStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending => self.poll_deadline(cx),
            ready => ready,
        }
    }
}

impl AsyncWrite for DeadlineStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Pending => self.poll_deadline(cx),
            ready => ready,
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
    use axum::serve::Listener;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::Instant,
    };

    use super::*;
    use crate::listener::LimitedListener;

    /// A peer and its accepted connection.
    async fn connection() -> (TcpStream, DeadlineStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (peer, LimitedListener::new(listener, 1, DeadlineStream::new).accept().await.0)
    }

    #[tokio::test]
    async fn stream_holds_its_connection_permit_until_dropped() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut listener = LimitedListener::new(listener, 1, DeadlineStream::new);
        let _peers = [(); 2].map(|()| std::net::TcpStream::connect(address).unwrap());
        let (first, _) = listener.accept().await;
        let mut second = Box::pin(listener.accept());
        let waiting = tokio::time::timeout(Duration::from_millis(50), second.as_mut()).await;
        assert!(waiting.is_err(), "the first connection is open");
        drop(first);
        second.await;
    }

    #[tokio::test(start_paused = true)]
    async fn read_from_a_silent_peer_times_out() {
        let accepted = Instant::now();
        let (mut peer, mut connection) = connection().await;
        peer.write_all(b"GET").await.unwrap();
        connection.read_exact(&mut [0; 3]).await.unwrap();
        let error = connection.read_u8().await.unwrap_err();
        let elapsed_s = accepted.elapsed().as_secs();
        assert_eq!((error.kind(), elapsed_s), (io::ErrorKind::TimedOut, MAX_CONNECTION_TIME.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn write_to_a_peer_that_does_not_read_times_out() {
        let (_peer, mut connection) = connection().await;
        let more_than_the_buffers = vec![0; 64 << 20];
        let error = connection.write_all(&more_than_the_buffers).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
