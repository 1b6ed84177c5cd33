//! A token in a file that somebody else renews, as Kubernetes and secret agents do.

use std::{
    io,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use super::{
    OnRefresh,
    watched::{LOOK_EVERY, Watched},
};
use crate::edna::{error::RefreshError, token::Token};

/// The file and the token that it held last.
pub(in crate::edna) struct TokenFile {
    file: Watched,
    state: Mutex<State>,
    on_refresh: OnRefresh,
}

struct State {
    token: Token,
    looked: Instant,
    /// The API did not accept the token, or there is another one: the next attempt looks at once.
    due: bool,
    /// What was wrong when last looked at, so that it is told once and not every second.
    problem: Option<RefreshError>,
}

impl TokenFile {
    /// Reads it for the first time; without a token there is nothing to start with.
    pub(super) fn open(path: PathBuf, on_refresh: OnRefresh) -> Result<Self, RefreshError> {
        let file = Watched::new(path);
        let token = parse(file.path(), file.content_at_start())?;
        let state = State { token, looked: Instant::now(), due: false, problem: None };
        Ok(Self { file, state: Mutex::new(state), on_refresh })
    }

    /// The token, read again when it is time. Comparing contents needs no trust in the file's times.
    pub(super) async fn token(&self) -> Token {
        let mut state = self.state.lock().await;
        if state.due || state.looked.elapsed() >= LOOK_EVERY {
            let read = parse(self.file.path(), self.file.content().await);
            state.take(read, &self.on_refresh);
        }
        state.token.clone()
    }

    /// The API did not accept this token; says nothing about one that has replaced it meanwhile.
    pub(super) async fn refused(&self, token: &Token) {
        let mut state = self.state.lock().await;
        state.due |= state.token == *token;
    }

    /// Resolves when the file holds another token than the one that was in use when this was called.
    pub(super) async fn changed(&self) {
        let used = self.state.lock().await.token.clone();
        while !parse(self.file.path(), self.file.content().await).is_ok_and(|token| token != used) {
            sleep(LOOK_EVERY).await;
        }
        self.state.lock().await.due = true;
    }
}

impl State {
    /// An earlier token may still be good when the file is not: it may be just being written.
    fn take(&mut self, read: Result<Token, RefreshError>, on_refresh: &OnRefresh) {
        self.looked = Instant::now();
        self.due = false;
        let problem = match read {
            Ok(token) if token == self.token => None,
            Ok(token) => {
                self.token = token;
                on_refresh(Ok(()));
                None
            }
            Err(problem) => Some(problem),
        };
        if let Some(problem) = &problem
            && self.problem.as_ref() != Some(problem)
        {
            on_refresh(Err(problem));
        }
        self.problem = problem;
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
