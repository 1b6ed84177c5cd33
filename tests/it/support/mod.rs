//! Test support: broker, queues and AMQP client, fault-injecting proxy, recording API, daemon process.

pub(crate) mod api;
pub(crate) mod broker;
pub(crate) mod client;
pub(crate) mod collector;
pub(crate) mod daemon;
pub(crate) mod daemon_fixture;
pub(crate) mod eventually;
pub(crate) mod fixture;
pub(crate) mod large_bodies;
pub(crate) mod message;
pub(crate) mod metrics;
pub(crate) mod ordered;
pub(crate) mod proxy;
pub(crate) mod proxy_server;
pub(crate) mod queues;
pub(crate) mod raw_amqp;
pub(crate) mod redis;
pub(crate) mod samples;
pub(crate) mod tls;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Deadline for conditions that hold within a second or so; long enough for a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// `<prefix>-<8 random hex digits>`, different for each test and run.
pub(crate) fn unique_name(prefix: &str) -> String {
    format!("{prefix}-{:08x}", fastrand::u32(..))
}

/// Creates a directory in the system's temporary directory.
pub(crate) fn create_temp_dir(name: &str) -> std::io::Result<PathBuf> {
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir(&dir)?;
    Ok(dir)
}

/// A temporary directory, removed on drop.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new(prefix: &str) -> Self {
        Self(create_temp_dir(&unique_name(prefix)).expect("the temporary directory is writable"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {e}", self.0.display());
        }
    }
}
