//! The password of a login, in the settings or in a file that another process renews.

use std::{path::PathBuf, sync::Mutex};

use secrecy::{ExposeSecret, SecretString};

use super::watched_file::WatchedFile;
use crate::{edna::error::RefreshError, sync::lock};

/// The password and its optional file.
pub(super) struct Password {
    file: Option<WatchedFile>,
    /// The password of the last login, or of the first one before that.
    used: Mutex<SecretString>,
}

impl Password {
    pub(super) fn new(password: SecretString, file: Option<PathBuf>) -> Self {
        Self { file: file.map(WatchedFile::new), used: Mutex::new(password) }
    }

    /// The password for a login that begins now, and the error if its file could not be read; then the password is the
    /// last one used.
    pub(super) async fn refresh(&self) -> (SecretString, Option<RefreshError>) {
        match self.read_file().await {
            None => (self.used(), None),
            Some(Err(problem)) => (self.used(), Some(problem)),
            Some(Ok(password)) => {
                *lock(&self.used) = password.clone();
                (password, None)
            }
        }
    }

    /// The password that the last login used.
    pub(super) fn used(&self) -> SecretString {
        lock(&self.used).clone()
    }

    pub(super) const fn is_fixed(&self) -> bool {
        self.file.is_none()
    }

    /// Whether the file now holds another password than `used`.
    pub(super) async fn differs_from(&self, used: &SecretString) -> bool {
        let read = self.read_file().await;
        read.is_some_and(|read| read.is_ok_and(|password| password.expose_secret() != used.expose_secret()))
    }

    async fn read_file(&self) -> Option<Result<SecretString, RefreshError>> {
        let file = self.file.as_ref()?;
        let path = || file.path().to_owned();
        Some(match file.read().await {
            Ok(content) if content.trim().is_empty() => Err(RefreshError::PasswordEmpty { path: path() }),
            Ok(content) => Ok(content.trim_end_matches(['\n', '\r']).into()),
            Err(error) => Err(RefreshError::PasswordUnreadable { path: path(), kind: error.kind() }),
        })
    }
}
