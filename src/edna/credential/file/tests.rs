use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{advance, timeout};

use super::*;
use crate::edna::error::TokenError;

/// A file in a directory of the test's own, and what was told about it.
struct Fixture {
    dir: PathBuf,
    file: TokenFile,
    told: Arc<Mutex<Vec<Result<(), RefreshError>>>>,
}

impl Fixture {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("edna-token-file-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&dir).unwrap();
        let path = dir.join("token");
        fs::write(&path, "old\n").unwrap();
        let told = Arc::<Mutex<Vec<_>>>::default();
        let hook = told.clone();
        let on_refresh: OnRefresh = Arc::new(move |result| hook.lock().unwrap().push(result.map_err(Clone::clone)));
        Self { dir, file: TokenFile::open(path, on_refresh).unwrap(), told }
    }

    fn write(&self, content: &str) {
        fs::write(self.file.file.path(), content).unwrap();
    }

    async fn assert_token(&self, expected: &str) {
        assert_eq!(self.file.token().await, token(expected));
    }

    fn told(&self) -> Vec<Result<(), RefreshError>> {
        std::mem::take(&mut self.told.lock().unwrap())
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
async fn is_looked_at_once_a_second_and_not_more_often() {
    let fixture = Fixture::new();
    fixture.write("new");
    advance(LOOK_EVERY - Duration::from_millis(1)).await;
    fixture.assert_token("old").await;
    advance(Duration::from_millis(1)).await;
    fixture.assert_token("new").await;
    fixture.write("newer");
    fixture.assert_token("new").await;
    assert_eq!(fixture.told(), [Ok(())]);
}

#[tokio::test(start_paused = true)]
async fn keeps_the_old_token_and_says_once_what_is_wrong() {
    let fixture = Fixture::new();
    let path = fixture.file.file.path().to_owned();
    for _ in 0..3 {
        fixture.write(" \n");
        advance(LOOK_EVERY).await;
        fixture.assert_token("old").await;
    }
    assert_eq!(fixture.told(), [Err(RefreshError::FileToken { path: path.clone(), source: TokenError::Empty })]);

    fs::remove_file(&path).unwrap();
    for _ in 0..3 {
        advance(LOOK_EVERY).await;
        fixture.assert_token("old").await;
    }
    let kind = io::ErrorKind::NotFound;
    assert_eq!(fixture.told(), [Err(RefreshError::FileUnreadable { path, kind })]);

    fixture.write("new");
    advance(LOOK_EVERY).await;
    fixture.assert_token("new").await;
    assert_eq!(fixture.told(), [Ok(())]);
}

#[tokio::test(start_paused = true)]
async fn is_looked_at_at_once_after_a_refusal_of_the_token_it_held() {
    let fixture = Fixture::new();
    fixture.write("new");
    fixture.file.refused(&token("another")).await;
    fixture.assert_token("old").await;
    fixture.file.refused(&token("old")).await;
    fixture.assert_token("new").await;
    fixture.write("newest");
    fixture.file.refused(&token("old")).await;
    fixture.assert_token("new").await;
    assert_eq!(fixture.told(), [Ok(())]);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_told_within_a_second_and_used_at_once() {
    let fixture = Fixture::new();
    let started = Instant::now();
    let mut changed = Box::pin(fixture.file.changed());
    assert!(futures_util::poll!(&mut changed).is_pending());
    assert!(timeout(Duration::from_secs(60), &mut changed).await.is_err(), "nothing has changed");
    fixture.write(" \n");
    assert!(timeout(Duration::from_secs(60), &mut changed).await.is_err(), "nothing to use");
    fixture.assert_token("old").await;
    fixture.write("new");
    timeout(LOOK_EVERY * 2, changed).await.unwrap();
    fixture.assert_token("new").await;
    assert!(started.elapsed() >= Duration::from_secs(120));

    fixture.write("newer");
    timeout(LOOK_EVERY, fixture.file.changed()).await.expect("it was there already");
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
fn does_not_open_without_a_token() {
    let fixture = Fixture::new();
    let silent: OnRefresh = Arc::new(|_| {});
    fixture.write("two words");
    let error = TokenFile::open(fixture.file.file.path().to_owned(), silent).err().unwrap();
    assert!(matches!(error, RefreshError::FileToken { source: TokenError::Invalid, .. }), "{error}");
    assert!(!error.to_string().contains("words"));
}
