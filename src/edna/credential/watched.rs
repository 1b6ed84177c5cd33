//! A file that somebody else renews, on a disk that may not answer.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::Mutex,
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use crate::edna::read::read_file;

/// How often it is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A disk that does not answer must not hold up attempts for longer.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// No token or password is near it; the file may be the wrong one.
const MOST_BYTES: u32 = 64 * 1024;

type Read = dyn Fn(&Path) -> io::Result<String> + Send + Sync;

/// The file. However often it is looked at, one read at a time is under way.
pub(super) struct Watched {
    path: PathBuf,
    read: Arc<Read>,
    /// Left here by a look that was given up; the next one takes it over.
    under_way: Mutex<Option<JoinHandle<io::Result<String>>>>,
}

impl Watched {
    pub(super) fn new(path: PathBuf) -> Self {
        Self::read_by(path, Arc::new(|path| read_file(path, MOST_BYTES)))
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
        let mut under_way = self.under_way.lock().await;
        let reading = under_way.get_or_insert_with(|| {
            let (path, read) = (self.path.clone(), Arc::clone(&self.read));
            spawn_blocking(move || read(&path))
        });
        let content = timeout(READ_TIMEOUT, reading).await.map_err(|_| io::ErrorKind::TimedOut)?;
        *under_way = None;
        content?
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
