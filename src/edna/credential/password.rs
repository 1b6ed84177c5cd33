//! The password of a login, perhaps in a file that somebody else renews.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use secrecy::{ExposeSecret, SecretString};

use super::watched::Watched;
use crate::edna::error::RefreshError;

/// The password, and its file if it has one.
pub(super) struct Password {
    file: Option<Watched>,
    /// What the last login used, or the next one will.
    used: Mutex<SecretString>,
}

impl Password {
    pub(super) fn new(password: SecretString, file: Option<PathBuf>) -> Self {
        Self { file: file.map(Watched::new), used: Mutex::new(password) }
    }

    /// For a login that begins now; and why the file could not be read, when the earlier password has to do.
    pub(super) async fn take(&self) -> (SecretString, Option<RefreshError>) {
        match self.on_disk().await {
            None => (self.used(), None),
            Some(Err(problem)) => (self.used(), Some(problem)),
            Some(Ok(password)) => {
                *self.lock() = password.clone();
                (password, None)
            }
        }
    }

    /// The password that the last login used.
    pub(super) fn used(&self) -> SecretString {
        self.lock().clone()
    }

    pub(super) const fn is_fixed(&self) -> bool {
        self.file.is_none()
    }

    /// Whether the file holds another one than this now.
    pub(super) async fn differs_from(&self, used: &SecretString) -> bool {
        let on_disk = self.on_disk().await;
        on_disk.is_some_and(|read| read.is_ok_and(|password| password.expose_secret() != used.expose_secret()))
    }

    async fn on_disk(&self) -> Option<Result<SecretString, RefreshError>> {
        let file = self.file.as_ref()?;
        let path = || file.path().to_owned();
        Some(match file.content().await {
            Ok(content) if content.trim().is_empty() => Err(RefreshError::PasswordEmpty { path: path() }),
            Ok(content) => Ok(content.trim_end_matches(['\n', '\r']).into()),
            Err(error) => Err(RefreshError::PasswordUnreadable { path: path(), kind: error.kind() }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, SecretString> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
