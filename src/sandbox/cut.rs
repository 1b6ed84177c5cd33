//! A TCP stream that a script can cut instead of sending a response.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::listener::{ConnectionPermit, LimitedListener};

/// Cuts the connection of a request.
#[derive(Clone, Default)]
pub(super) struct CutHandle(Arc<AtomicBool>);

impl CutHandle {
    /// Makes every later write fail: the connection closes instead of sending the response.
    pub(super) fn cut(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Acquire) { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl Connected<IncomingStream<'_, LimitedListener<CuttableStream>>> for CutHandle {
    fn connect_info(stream: IncomingStream<'_, LimitedListener<CuttableStream>>) -> Self {
        stream.io().handle.clone()
    }
}

/// A stream whose writes fail once its [`CutHandle`] has cut it.
pub(super) struct CuttableStream {
    stream: TcpStream,
    handle: CutHandle,
    _permit: ConnectionPermit,
}

impl CuttableStream {
    pub(super) fn new(stream: TcpStream, permit: ConnectionPermit) -> Self {
        // Without it, a load test measures the delayed acks of small responses. A failure costs latency only.
        drop(stream.set_nodelay(true));
        Self { stream, handle: CutHandle::default(), _permit: permit }
    }
}

impl AsyncRead for CuttableStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.handle.check()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.handle.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
