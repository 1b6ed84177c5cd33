//! What a sandbox can be told at its start.

use std::time::Duration;

use secrecy::SecretString;

/// The path that edna documents.
pub const DEFAULT_PATH: &str = "/api/v1/messages/outgoing-to-device";

/// Settings of a sandbox; the default is fast, without latency, and accepts any token.
#[derive(Clone, Debug)]
pub struct Options {
    /// Path of the send method.
    pub path: String,
    /// The one token accepted at the start; without one any token is, until a script or `POST /token` says otherwise.
    pub token: Option<SecretString>,
    /// Login and password that `POST /api/auth/login` accepts; without them any.
    pub login: Option<(String, SecretString)>,
    /// Waited before every answer.
    pub latency: Duration,
    /// Waited on top: an even chance from nothing to this.
    pub jitter: Duration,
    /// Requests that `GET /received` remembers; 0 counts only.
    pub keep: usize,
    /// Of the random_unit that rules with a share throw: the same seed, messages and rules give the same failures.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            path: DEFAULT_PATH.to_owned(),
            token: None,
            login: None,
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            keep: 10_000,
            seed: 0,
        }
    }
}
