//! A TCP listener for axum that limits the number of concurrent connections.

use std::{io, net::SocketAddr, sync::Arc};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// Accepts while fewer than the maximum number of connections are open; further ones wait in the system's backlog.
pub struct LimitedListener<S> {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    wrap: fn(TcpStream, ConnectionPermit) -> S,
}

/// The right to one connection; the wrapped stream keeps it until it is dropped.
#[derive(Debug)]
pub struct ConnectionPermit(#[expect(dead_code, reason = "released on drop")] Option<OwnedSemaphorePermit>);

impl<S> LimitedListener<S> {
    /// Limits `listener` to `max_connections`; `wrap` makes the connection's stream.
    pub fn new(listener: TcpListener, max_connections: usize, wrap: fn(TcpStream, ConnectionPermit) -> S) -> Self {
        Self { listener, permits: Arc::new(Semaphore::new(max_connections)), wrap }
    }

    async fn accept_permitted(&mut self) -> (TcpStream, ConnectionPermit, SocketAddr) {
        // An error means that the semaphore is closed, which never happens.
        let permit = ConnectionPermit(Arc::clone(&self.permits).acquire_owned().await.ok());
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (stream, permit, peer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Listener for LimitedListener<S> {
    type Io = S;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (S, SocketAddr) {
        let (stream, permit, peer) = self.accept_permitted().await;
        ((self.wrap)(stream, permit), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accept_at_the_limit_waits_for_a_closed_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut listener = LimitedListener::new(listener, 2, |_, _| ());
        let _peers = [(); 3].map(|()| std::net::TcpStream::connect(address).unwrap());
        let _first = listener.accept_permitted().await;
        let second = listener.accept_permitted().await;
        let mut third = Box::pin(listener.accept_permitted());
        assert!(futures_util::poll!(third.as_mut()).is_pending());
        drop(second);
        third.await;
    }
}
