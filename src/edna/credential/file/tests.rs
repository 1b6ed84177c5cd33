use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{advance, timeout};

use super::*;
use crate::edna::error::TokenError;

/// A token file in a temporary directory, and the renewals that were reported.
struct Fixture {
    dir: PathBuf,
    file: TokenFile,
    renewals: Arc<Mutex<Vec<Result<(), RefreshError>>>>,
}

impl Fixture {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("edna-token-file-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&dir).unwrap();
        let path = dir.join("token");
        fs::write(&path, "old\n").unwrap();
        let renewals = Arc::<Mutex<Vec<_>>>::default();
        let hook = renewals.clone();
        let on_refresh: OnRefresh = Arc::new(move |result| hook.lock().unwrap().push(result.map_err(Clone::clone)));
        Self { dir, file: TokenFile::open(path, on_refresh).unwrap(), renewals }
    }

    fn write(&self, content: &str) {
        fs::write(self.file.file.path(), content).unwrap();
    }

    async fn assert_token(&self, expected: &str) {
        assert_eq!(self.file.token().await, token(expected));
    }

    fn renewals(&self) -> Vec<Result<(), RefreshError>> {
        std::mem::take(&mut self.renewals.lock().unwrap())
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.dir));
    }
}

fn token(text: &str) -> Token {
    Token::parse(&SecretString::from(text)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn token_file_is_read_once_a_second() {
    let fixture = Fixture::new();
    fixture.write("new");
    advance(POLL_INTERVAL - Duration::from_millis(1)).await;
    fixture.assert_token("old").await;
    advance(Duration::from_millis(1)).await;
    fixture.assert_token("new").await;
    fixture.write("newer");
    fixture.assert_token("new").await;
    assert_eq!(fixture.renewals(), [Ok(())]);
}

#[tokio::test(start_paused = true)]
async fn unusable_token_file_keeps_the_token_and_reports_once() {
    let fixture = Fixture::new();
    let path = fixture.file.file.path().to_owned();
    for _ in 0..3 {
        fixture.write(" \n");
        advance(POLL_INTERVAL).await;
        fixture.assert_token("old").await;
    }
    assert_eq!(fixture.renewals(), [Err(RefreshError::FileToken { path: path.clone(), source: TokenError::Empty })]);

    fs::remove_file(&path).unwrap();
    for _ in 0..3 {
        advance(POLL_INTERVAL).await;
        fixture.assert_token("old").await;
    }
    let kind = io::ErrorKind::NotFound;
    assert_eq!(fixture.renewals(), [Err(RefreshError::FileUnreadable { path, kind })]);

    fixture.write("new");
    advance(POLL_INTERVAL).await;
    fixture.assert_token("new").await;
    assert_eq!(fixture.renewals(), [Ok(())]);
}

#[tokio::test(start_paused = true)]
async fn token_file_is_read_at_once_after_a_rejection() {
    let fixture = Fixture::new();
    fixture.write("new");
    fixture.file.reject(&token("another")).await;
    fixture.assert_token("old").await;
    fixture.file.reject(&token("old")).await;
    fixture.assert_token("new").await;
    fixture.write("newest");
    fixture.file.reject(&token("old")).await;
    fixture.assert_token("new").await;
    assert_eq!(fixture.renewals(), [Ok(())]);
}

#[tokio::test(start_paused = true)]
async fn token_file_change_is_reported_within_a_second() {
    let fixture = Fixture::new();
    let started = Instant::now();
    let mut changed = Box::pin(fixture.file.changed());
    assert!(futures_util::poll!(&mut changed).is_pending());
    assert!(timeout(Duration::from_secs(60), &mut changed).await.is_err(), "nothing has changed");
    fixture.write(" \n");
    assert!(timeout(Duration::from_secs(60), &mut changed).await.is_err(), "the new content is unusable");
    fixture.assert_token("old").await;
    fixture.write("new");
    timeout(POLL_INTERVAL * 2, changed).await.unwrap();
    fixture.assert_token("new").await;
    assert!(started.elapsed() >= Duration::from_secs(120));

    fixture.write("newer");
    timeout(POLL_INTERVAL, fixture.file.changed()).await.expect("the file had changed before the call");
    assert!(
        timeout(Duration::from_secs(60), async {
            fixture.assert_token("newer").await;
            fixture.file.changed().await
        })
        .await
        .is_err()
    );
}

#[test]
fn token_file_without_a_token_is_refused() {
    let fixture = Fixture::new();
    let silent: OnRefresh = Arc::new(|_| {});
    fixture.write("two words");
    let error = TokenFile::open(fixture.file.file.path().to_owned(), silent).err().unwrap();
    assert!(matches!(error, RefreshError::FileToken { source: TokenError::Invalid, .. }), "{error}");
    assert!(!error.to_string().contains("words"));
}
