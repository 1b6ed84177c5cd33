//! Forwards one direction of one connection.

use std::{io, sync::atomic::Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{
    connection::ProxiedConnection,
    control::{Direction, Faults},
    frames::{is_confirm, take_frame},
};

/// Bytes read and not written yet.
#[derive(Debug)]
pub(super) struct Stream {
    /// Parse the bytes as AMQP frames.
    amqp: bool,
    received: Vec<u8>,
    /// Frames held back.
    withheld: Vec<u8>,
}

impl Stream {
    pub(super) fn raw() -> Self {
        Self { amqp: false, received: Vec::new(), withheld: Vec::new() }
    }

    pub(super) fn amqp() -> Self {
        Self { amqp: true, ..Self::raw() }
    }

    /// Returns the bytes to forward and the number of confirms newly held back.
    fn take(&mut self, faults: &Faults) -> (Vec<u8>, u64) {
        if !self.amqp {
            return (std::mem::take(&mut self.received), 0);
        }
        let (mut forwarded, mut withheld) = (Vec::new(), 0);
        if !faults.withholds_some() {
            forwarded.append(&mut self.withheld);
        }
        while let Some(frame) = take_frame(&mut self.received) {
            if faults.withholds(&frame) {
                withheld += u64::from(is_confirm(&frame));
                self.withheld.extend(frame);
            } else {
                forwarded.extend(frame);
            }
        }
        (forwarded, withheld)
    }
}

/// Reads from one side and writes to the other, subject to the faults.
#[derive(Debug)]
pub(super) struct Pump {
    pub(super) direction: Direction,
    pub(super) stream: Stream,
    pub(super) connection: ProxiedConnection,
}

impl Pump {
    /// Runs until EOF on the reading side, which it forwards as a shutdown of the writing side.
    pub(super) async fn run(
        mut self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let read = tokio::select! {
                // Sends released confirms although no new bytes arrive.
                changed = self.connection.changed() => changed.map(|()| None).ok_or_else(dropped)?,
                read = from.read(&mut chunk) => Some(read?),
            };
            self.on_read(&chunk[..read.unwrap_or(0)]);
            let faults = self.connection.flows(self.direction).await.ok_or_else(dropped)?;
            let (forwarded, withheld) = self.stream.take(&faults);
            self.connection.counters.confirms_withheld.fetch_add(withheld, Ordering::Relaxed);
            to.write_all(&forwarded).await?;
            if read == Some(0) {
                return to.shutdown().await;
            }
        }
    }

    fn on_read(&mut self, bytes: &[u8]) {
        if self.direction == Direction::ToServer {
            self.connection.inspect_handshake(bytes);
        }
        self.stream.received.extend_from_slice(bytes);
        self.connection.counters.bytes(self.direction).fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
}

/// The error after the proxy was dropped.
fn dropped() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}
