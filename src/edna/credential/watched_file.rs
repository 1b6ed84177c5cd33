//! A small file that another process renews, on a file system that may hang.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{files::read_small_file, sync::lock};

/// How often a watched file is read.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Upper bound for how long a hanging file system delays an attempt.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// Upper bound for a token or a password.
const MAX_BYTES: u32 = 64 * 1024;

type ReadResult = Result<String, io::ErrorKind>;
type ReadFn = dyn Fn(&Path) -> io::Result<String> + Send + Sync;

/// A path. At most one read of it is in progress at a time.
pub(super) struct WatchedFile {
    path: PathBuf,
    read: Arc<ReadFn>,
    /// Concurrent readers share this read. They wait without holding the lock: one of them may never be polled again.
    in_progress: Mutex<Option<Shared<BoxFuture<'static, ReadResult>>>>,
}

impl WatchedFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self::with_read(path, Arc::new(|path| read_small_file(path, MAX_BYTES)))
    }

    fn with_read(path: PathBuf, read: Arc<ReadFn>) -> Self {
        Self { path, read, in_progress: Mutex::default() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the content on this thread; for the start, before anything else runs.
    pub(super) fn read_blocking(&self) -> io::Result<String> {
        (self.read)(&self.path)
    }

    /// Reads the content; `TimedOut` after [`READ_TIMEOUT`].
    pub(super) async fn read(&self) -> io::Result<String> {
        let result = timeout(READ_TIMEOUT, self.shared_read()).await.map_err(|_| io::ErrorKind::TimedOut)?;
        result.map_err(io::Error::from)
    }

    /// The read in progress, else a new one.
    fn shared_read(&self) -> Shared<BoxFuture<'static, ReadResult>> {
        let mut in_progress = lock(&self.in_progress);
        if let Some(reading) = in_progress.as_ref().filter(|reading| reading.peek().is_none()) {
            return reading.clone();
        }
        let (path, read) = (self.path.clone(), Arc::clone(&self.read));
        let task = spawn_blocking(move || read(&path).map_err(|error| error.kind()));
        let reading = task.map(|joined| joined.unwrap_or(Err(io::ErrorKind::Other))).boxed().shared();
        *in_progress = Some(reading.clone());
        reading
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use futures_util::future::join;
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn watched_file_on_a_hanging_disk_has_one_read_in_progress() {
        let (answer, answers) = mpsc::channel::<String>();
        let (reads, answers) = (Arc::new(AtomicUsize::new(0)), std::sync::Mutex::new(answers));
        let counted = reads.clone();
        let read = move |_: &Path| {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(answers.lock().unwrap().recv().unwrap())
        };
        let file = WatchedFile::with_read("x".into(), Arc::new(read));
        for _ in 0..3 {
            let (content, ()) = join(file.read(), advance(READ_TIMEOUT)).await;
            assert_eq!(content.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        answer.send("late".to_owned()).unwrap();
        assert_eq!(file.read().await.unwrap(), "late");
        assert_eq!(reads.load(Ordering::SeqCst), 1);
        answer.send("new".to_owned()).unwrap();
        assert_eq!(file.read().await.unwrap(), "new");
        assert_eq!(reads.load(Ordering::SeqCst), 2);
    }
}
