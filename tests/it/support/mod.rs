//! What the tests stand on: a broker, queues of their own, a client, faults on the wire, the daemon as a black box.

pub(crate) mod account;
pub(crate) mod api;
pub(crate) mod bench;
pub(crate) mod broker;
pub(crate) mod client;
pub(crate) mod daemon;
pub(crate) mod eventually;
pub(crate) mod message;
pub(crate) mod metrics;
pub(crate) mod ordered;
pub(crate) mod proxy;
pub(crate) mod proxy_server;
pub(crate) mod queues;
pub(crate) mod redis;
pub(crate) mod samples;
pub(crate) mod stage;
pub(crate) mod tls;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// A deadline that only a broken test reaches, with room for a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A name that no other test and no other run has: `<stem>-<8 hex digits>`.
pub(crate) fn unique(stem: &str) -> String {
    format!("{stem}-{:08x}", fastrand::u32(..))
}

/// A new directory among the temporary files.
pub(crate) fn new_dir(name: &str) -> std::io::Result<PathBuf> {
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir(&dir)?;
    Ok(dir)
}

/// A directory of a test's own, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct OwnDir(PathBuf);

impl OwnDir {
    pub(crate) fn new(stem: &str) -> Self {
        Self(new_dir(&unique(stem)).expect("temporary files can be made"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for OwnDir {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} is left behind: {e}", self.0.display());
        }
    }
}
