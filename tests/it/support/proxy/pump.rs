//! One direction of one connection.

use std::{io, sync::atomic::Ordering};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
};

use super::{
    Way,
    frames::{is_confirm, take_frame},
    line::Line,
};

/// Bytes on their way, and what is held back of them.
#[derive(Debug)]
pub(super) struct Stream {
    /// Whether the bytes are AMQP frames and are passed on frame by frame.
    amqp: bool,
    arrived: Vec<u8>,
    withheld: Vec<u8>,
}

impl Stream {
    pub(super) fn raw() -> Self {
        Self { amqp: false, arrived: Vec::new(), withheld: Vec::new() }
    }

    pub(super) fn amqp() -> Self {
        Self { amqp: true, ..Self::raw() }
    }

    /// What may be passed on, and how many confirms were put aside.
    fn take(&mut self, withhold: bool) -> (Vec<u8>, u64) {
        if !self.amqp {
            return (std::mem::take(&mut self.arrived), 0);
        }
        let (mut passed, mut put_aside) = (Vec::new(), 0);
        if !withhold {
            passed.append(&mut self.withheld);
        }
        while let Some(frame) = take_frame(&mut self.arrived) {
            if withhold && is_confirm(&frame) {
                self.withheld.extend(frame);
                put_aside += 1;
            } else {
                passed.extend(frame);
            }
        }
        (passed, put_aside)
    }
}

/// Reads from one side and writes to the other, as far as the control allows.
#[derive(Debug)]
pub(super) struct Pump {
    pub(super) way: Way,
    pub(super) stream: Stream,
    pub(super) line: Line,
}

impl Pump {
    /// Ends when the reading side has ended, and tells the writing side so, as far as even that may pass.
    pub(super) async fn run(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let read = tokio::select! {
                // Released confirms must go out though nothing new arrives.
                changed = self.line.changed() => changed.map(|()| None).ok_or_else(gone)?,
                read = from.read(&mut chunk) => Some(read?),
            };
            self.arrived(&chunk[..read.unwrap_or(0)]);
            let faults = self.line.flows(self.way).await.ok_or_else(gone)?;
            let (passed, put_aside) = self.stream.take(faults.withhold_confirms);
            self.line.counters.confirms_withheld.fetch_add(put_aside, Ordering::Relaxed);
            to.write_all(&passed).await?;
            if read == Some(0) {
                return to.shutdown().await;
            }
        }
    }

    fn arrived(&mut self, bytes: &[u8]) {
        if self.way == Way::ToServer {
            self.line.heard(bytes);
        }
        self.stream.arrived.extend_from_slice(bytes);
        self.line.counters.bytes(self.way).fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
}

/// The proxy was dropped.
fn gone() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}
