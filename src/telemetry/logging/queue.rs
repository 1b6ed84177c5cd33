//! The queue of log lines. A thread of its own writes them, so a full pipe without a reader blocks only that thread.

use std::{
    io::{self, ErrorKind, Write},
    mem,
    sync::{Arc, Condvar, Mutex, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use prometheus::IntCounter;

use crate::sync::lock;

/// Thousands of lines. A line that does not fit is dropped, so that memory is bounded and no caller waits.
const MAX_QUEUED_BYTES: usize = 1 << 20;
/// Between writes to a pipe that is full and does not block, as another process can set it.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// The queue, shared by the threads that log and the thread that writes.
#[derive(Debug, Default)]
pub(super) struct LogQueue {
    lines: Mutex<QueuedLines>,
    /// Lines were added.
    added: Condvar,
    /// The writer has finished a batch.
    written: Condvar,
    dropped: OnceLock<IntCounter>,
}

#[derive(Debug, Default)]
struct QueuedLines {
    bytes: Vec<u8>,
    /// Whether the writer holds lines that it has taken out of `bytes`.
    is_writing: bool,
}

impl LogQueue {
    /// Starts the thread, which writes to `output` until the process ends.
    pub(super) fn start(output: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let queue = Arc::<Self>::default();
        let shared = queue.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_to(output))?;
        Ok(queue)
    }

    /// Counts the lines that are dropped from now on.
    pub(super) fn count_dropped_in(&self, counter: IntCounter) {
        // Fails if there is a counter already, which stays.
        let _ = self.dropped.set(counter);
    }

    /// Adds a line, which ends in a line break. Never waits for the output.
    pub(super) fn push(&self, line: &[u8]) {
        let mut lines = lock(&self.lines);
        if lines.bytes.len().saturating_add(line.len()) > MAX_QUEUED_BYTES {
            drop(lines);
            return self.count_dropped(1);
        }
        lines.bytes.extend_from_slice(line);
        drop(lines);
        self.added.notify_one();
    }

    /// Waits until every line is written, at most this long; returns whether it is.
    pub(super) fn flush(&self, timeout: Duration) -> bool {
        let is_pending = |lines: &mut QueuedLines| lines.is_writing || !lines.bytes.is_empty();
        let waited = self.written.wait_timeout_while(lock(&self.lines), timeout, is_pending);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn write_to(&self, mut output: impl Write) {
        let mut batch = Vec::new();
        loop {
            self.take_batch(&mut batch);
            let unwritten = write_all(&mut output, &batch);
            let lines = unwritten.iter().filter(|byte| **byte == b'\n').count();
            self.count_dropped(u64::try_from(lines).unwrap_or(u64::MAX));
            batch.clear();
            self.end_batch();
        }
    }

    /// Waits for lines and swaps them with the empty `batch`.
    fn take_batch(&self, batch: &mut Vec<u8>) {
        let is_empty = |lines: &mut QueuedLines| lines.bytes.is_empty();
        let waited = self.added.wait_while(lock(&self.lines), is_empty);
        let mut lines = waited.unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut lines.bytes, batch);
        lines.is_writing = true;
    }

    fn end_batch(&self) {
        lock(&self.lines).is_writing = false;
        self.written.notify_all();
    }

    fn count_dropped(&self, lines: u64) {
        if let Some(counter) = self.dropped.get() {
            counter.inc_by(lines);
        }
    }
}

/// One call is one line: the layer formats a whole line before it writes.
impl Write for &LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes until an error; returns what is left.
fn write_all<'b>(output: &mut impl Write, mut bytes: &'b [u8]) -> &'b [u8] {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => break,
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_INTERVAL),
            Err(_) => break,
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Read},
        os::unix::net::UnixStream,
    };

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(30);

    /// A queue whose lines go to this stream, and the counter of dropped lines.
    fn queue() -> (Arc<LogQueue>, UnixStream, IntCounter) {
        let (reader, writer) = UnixStream::pair().unwrap();
        let (queue, counter) = (LogQueue::start(writer).unwrap(), IntCounter::new("dropped", "d").unwrap());
        queue.count_dropped_in(counter.clone());
        (queue, reader, counter)
    }

    #[test]
    fn lines_are_written_in_order() {
        let (queue, reader, dropped) = queue();
        for number in 0..10_000 {
            queue.push(format!("{number}\n").as_bytes());
        }
        let lines = BufReader::new(reader).lines().take(10_000);
        assert!(lines.map(Result::unwrap).eq((0..10_000).map(|number| number.to_string())));
        assert!(queue.flush(LONG));
        assert_eq!(dropped.get(), 0);
    }

    #[test]
    fn output_that_nobody_reads_drops_and_counts() {
        let (queue, mut reader, dropped) = queue();
        let line = [&[b'x'; 999][..], b"\n"].concat();
        let lines = 10_000;
        for _ in 0..lines {
            queue.push(&line);
        }
        assert!(!queue.flush(SHORT), "nothing reads");
        let fits = u64::try_from(2 * MAX_QUEUED_BYTES / line.len()).unwrap() + 1_000;
        assert!(dropped.get() >= lines - fits && dropped.get() < lines, "{}", dropped.get());

        let kept = usize::try_from(lines - dropped.get()).unwrap();
        let mut read = vec![0; kept * line.len()];
        reader.read_exact(&mut read).unwrap();
        assert!(read == line.repeat(kept), "whole lines only");
        assert!(queue.flush(LONG));
    }

    #[test]
    fn closed_output_drops_and_counts() {
        let (queue, reader, dropped) = queue();
        drop(reader);
        queue.push(b"one\n");
        assert!(queue.flush(LONG));
        queue.push(b"two\nand three\n");
        assert!(queue.flush(LONG));
        assert_eq!(dropped.get(), 3);
    }

    #[test]
    fn output_that_does_not_block_is_retried() {
        let (mut reader, writer) = UnixStream::pair().unwrap();
        writer.set_nonblocking(true).unwrap();
        let queue = LogQueue::start(writer).unwrap();
        let text = vec![b'\n'; MAX_QUEUED_BYTES];
        queue.push(&text);
        assert!(!queue.flush(SHORT), "more than the socket's buffer");
        reader.read_exact(&mut vec![0; text.len()]).unwrap();
        assert!(queue.flush(LONG));
    }
}
