//! A token in a file that somebody else renews, as Kubernetes and secret agents do.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::SecretString;
use tokio::{
    sync::Mutex,
    task::spawn_blocking,
    time::{Instant, timeout},
};

use super::OnRefresh;
use crate::edna::{error::RefreshError, token::Token};

/// How often the file is looked at while the API accepts the token.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A disk that does not answer must not hold up attempts for longer.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// No token is near it; the file may be the wrong one.
const LONGEST_FILE_BYTES: u64 = 64 * 1024;

/// The file and the token that it held last.
pub(in crate::edna) struct TokenFile {
    path: PathBuf,
    state: Mutex<State>,
    on_refresh: OnRefresh,
}

struct State {
    token: Token,
    looked: Instant,
    /// The API did not accept the token: the next attempt looks at once.
    refused: bool,
    /// What was wrong when last looked at, so that it is told once and not every second.
    problem: Option<RefreshError>,
}

impl TokenFile {
    /// Reads it for the first time; without a token there is nothing to start with.
    pub(super) fn open(path: PathBuf, on_refresh: OnRefresh) -> Result<Self, RefreshError> {
        let token = parse(&path, read(&path))?;
        let state = State { token, looked: Instant::now(), refused: false, problem: None };
        Ok(Self { path, state: Mutex::new(state), on_refresh })
    }

    /// The token, read again when it is time. Comparing contents needs no trust in the file's times.
    pub(super) async fn token(&self) -> Token {
        let mut state = self.state.lock().await;
        if state.refused || state.looked.elapsed() >= LOOK_EVERY {
            let path = self.path.clone();
            let reading = timeout(READ_TIMEOUT, spawn_blocking(move || read(&path))).await;
            let content = reading.map_or_else(|_| Err(io::ErrorKind::TimedOut.into()), |read| read?);
            state.take(parse(&self.path, content), &self.on_refresh);
        }
        state.token.clone()
    }

    /// The API did not accept this token; says nothing about one that has replaced it meanwhile.
    pub(super) async fn refused(&self, token: &Token) {
        let mut state = self.state.lock().await;
        state.refused |= state.token == *token;
    }
}

impl State {
    /// An earlier token may still be good when the file is not: it may be just being written.
    fn take(&mut self, read: Result<Token, RefreshError>, on_refresh: &OnRefresh) {
        self.looked = Instant::now();
        self.refused = false;
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

fn read(path: &Path) -> io::Result<String> {
    let mut content = String::new();
    File::open(path)?.take(LONGEST_FILE_BYTES).read_to_string(&mut content)?;
    Ok(content)
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
