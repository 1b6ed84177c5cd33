//! Settings of the sandbox.

use std::time::Duration;

use secrecy::SecretString;

/// The documented path of the send method.
pub const DEFAULT_PATH: &str = "/api/v1/messages/outgoing-to-device";

/// Settings of a sandbox; the default has no latency and accepts any token.
#[derive(Clone, Debug)]
pub struct Options {
    /// The path of the send method.
    pub path: String,
    /// The only token accepted at the start; `None` accepts any, until a script or `POST /token` changes it.
    pub token: Option<SecretString>,
    /// The login and password that `POST /api/auth/login` accepts; `None` accepts any.
    pub login: Option<(String, SecretString)>,
    /// The delay before every response.
    pub latency: Duration,
    /// The maximum of an additional random delay, uniform from zero.
    pub jitter: Duration,
    /// Requests that `GET /received` keeps; 0 keeps the counts only.
    pub keep: usize,
    /// The seed of rules with a share: the same seed, messages and rules give the same failures.
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
