//! A file that somebody else renews, on a disk that may not answer.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::{task::spawn_blocking, time::timeout};

use crate::files::read_small_file;

/// How often it is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A disk that does not answer must not hold up attempts for longer.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// No token or password is near it; the file may be the wrong one.
const MOST_BYTES: u32 = 64 * 1024;

type Content = Result<String, io::ErrorKind>;
type Read = dyn Fn(&Path) -> io::Result<String> + Send + Sync;

/// The file. However often it is looked at, one read at a time is under way.
pub(super) struct Watched {
    path: PathBuf,
    read: Arc<Read>,
    /// All who look meanwhile share it; no lock is held while they wait, for one of them may never be polled again.
    under_way: Mutex<Option<Shared<BoxFuture<'static, Content>>>>,
}

impl Watched {
    pub(super) fn new(path: PathBuf) -> Self {
        Self::read_by(path, Arc::new(|path| read_small_file(path, MOST_BYTES)))
    }

    fn read_by(path: PathBuf, read: Arc<Read>) -> Self {
        Self { path, read, under_way: Mutex::default() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its content, on this thread: at start, when there is nothing else to do.
    pub(super) fn content_at_start(&self) -> io::Result<String> {
        (self.read)(&self.path)
    }

    /// Its content, or that it is not to be had in time.
    pub(super) async fn content(&self) -> io::Result<String> {
        let reading = self.reading();
        let content = timeout(READ_TIMEOUT, reading).await.map_err(|_| io::ErrorKind::TimedOut)?;
        content.map_err(io::Error::from)
    }

    /// The read that is under way, else a new one.
    fn reading(&self) -> Shared<BoxFuture<'static, Content>> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reading) = under_way.as_ref().filter(|reading| reading.peek().is_none()) {
            return reading.clone();
        }
        let (path, read) = (self.path.clone(), Arc::clone(&self.read));
        let ended = spawn_blocking(move || read(&path).map_err(|error| error.kind()));
        let reading = ended.map(|ended| ended.unwrap_or(Err(io::ErrorKind::Other))).boxed().shared();
        *under_way = Some(reading.clone());
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
    async fn on_a_disk_that_hangs_one_read_is_under_way_however_often_it_is_looked_at() {
        let (answer, answers) = mpsc::channel::<String>();
        let (reads, answers) = (Arc::new(AtomicUsize::new(0)), std::sync::Mutex::new(answers));
        let counted = reads.clone();
        let read = move |_: &Path| {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(answers.lock().unwrap().recv().unwrap())
        };
        let file = Watched::read_by("x".into(), Arc::new(read));
        for _ in 0..3 {
            let (content, ()) = join(file.content(), advance(READ_TIMEOUT)).await;
            assert_eq!(content.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        answer.send("late".to_owned()).unwrap();
        assert_eq!(file.content().await.unwrap(), "late");
        assert_eq!(reads.load(Ordering::SeqCst), 1);
        answer.send("new".to_owned()).unwrap();
        assert_eq!(file.content().await.unwrap(), "new");
        assert_eq!(reads.load(Ordering::SeqCst), 2);
    }
}
