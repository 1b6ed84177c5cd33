//! A token in a file that another process renews, as Kubernetes and secret agents do.

use std::{
    io,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use super::watched_file::{POLL_INTERVAL, WatchedFile};
use crate::edna::{
    error::{OnRefresh, RefreshError},
    token::Token,
};

/// The file and its last valid token.
pub(in crate::edna) struct TokenFile {
    file: WatchedFile,
    state: Mutex<TokenFileState>,
    on_refresh: OnRefresh,
}

struct TokenFileState {
    token: Token,
    read_at: Instant,
    /// The API rejected the token, or the file has changed: the next attempt reads the file without waiting.
    is_stale: bool,
    /// The error of the last read, so that a lasting error is reported once and not every second.
    last_error: Option<RefreshError>,
}

impl TokenFile {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// If the file is unreadable or holds no usable token.
    pub(super) fn open(path: PathBuf, on_refresh: OnRefresh) -> Result<Self, RefreshError> {
        let file = WatchedFile::new(path);
        let token = parse(file.path(), file.read_blocking())?;
        let state = TokenFileState { token, read_at: Instant::now(), is_stale: false, last_error: None };
        Ok(Self { file, state: Mutex::new(state), on_refresh })
    }

    /// The token, re-read when a poll is due. Contents are compared, not modification times.
    pub(super) async fn token(&self) -> Token {
        let mut state = self.state.lock().await;
        if state.is_stale || state.read_at.elapsed() >= POLL_INTERVAL {
            let read = parse(self.file.path(), self.file.read().await);
            state.update(read, &self.on_refresh);
        }
        state.token.clone()
    }

    /// Records that the API rejected `token`; has no effect once another token has replaced it.
    pub(super) async fn reject(&self, token: &Token) {
        let mut state = self.state.lock().await;
        state.is_stale |= state.token == *token;
    }

    /// Resolves when the file holds another token than the one in use when this was called.
    pub(super) async fn changed(&self) {
        let used = self.state.lock().await.token.clone();
        while !parse(self.file.path(), self.file.read().await).is_ok_and(|token| token != used) {
            sleep(POLL_INTERVAL).await;
        }
        self.state.lock().await.is_stale = true;
    }
}

impl TokenFileState {
    /// Takes over what a read returned. On an error the previous token stays: the file may be half written.
    fn update(&mut self, read: Result<Token, RefreshError>, on_refresh: &OnRefresh) {
        self.read_at = Instant::now();
        self.is_stale = false;
        let error = match read {
            Ok(token) if token == self.token => None,
            Ok(token) => {
                self.token = token;
                on_refresh(Ok(()));
                None
            }
            Err(error) => Some(error),
        };
        if let Some(error) = &error
            && self.last_error.as_ref() != Some(error)
        {
            on_refresh(Err(error));
        }
        self.last_error = error;
    }
}

fn parse(path: &Path, content: io::Result<String>) -> Result<Token, RefreshError> {
    let path = path.to_owned();
    match content {
        Ok(content) => {
            Token::parse(&SecretString::from(content)).map_err(|source| RefreshError::FileToken { path, source })
        }
        Err(error) => Err(RefreshError::FileUnreadable { path, kind: error.kind() }),
    }
}

#[cfg(test)]
mod tests;
