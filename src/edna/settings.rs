//! Settings of the API client, besides its credential.

use std::{path::PathBuf, time::Duration};

use super::proxy::Proxy;

/// Where the API is, how to reach it and how long to wait for it.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// `api.base_url`: http or https, with an optional path prefix; no user, query or fragment.
    pub base_url: String,
    /// `api.path`, appended to the base URL.
    pub path: String,
    /// `api.timeout`: for one attempt as a whole, from connecting to the last byte of the response; capped at 24 h.
    pub timeout: Duration,
    /// `api.connect_timeout`: for DNS, TCP, proxy and TLS together. Capped at half of `timeout`, so that a connection
    /// that cannot be made is *not sent* before the attempt as a whole times out.
    pub connect_timeout: Duration,
    /// `api.keep_alive`: how long an idle connection is kept. It must be below the server's own limit, or a POST can meet
    /// a connection that the server is closing.
    pub pool_idle_timeout: Duration,
    /// How many idle connections are kept; at least the highest number of attempts in flight.
    pub pool_max_idle: usize,
    /// After this time without a frame from the server, an HTTP/2 connection is pinged; it is closed after the same time
    /// without a reply. Attempts share the connection, so the timeout of a single one does not close it.
    pub http2_keep_alive: Duration,
    /// `api.proxy`.
    pub proxy: Proxy,
    /// `api.ca_file`: PEM certificates that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// `api.cert_file` and `api.key_file`: PEM client certificate chain and its private key, for mutual TLS.
    pub identity_files: Option<(PathBuf, PathBuf)>,
    /// `api.unauthorized_statuses`: the responses after which the credential is renewed.
    pub unauthorized_statuses: Vec<u16>,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            base_url: String::new(),
            path: "/api/v1/messages/outgoing-to-device".into(),
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            pool_idle_timeout: Duration::from_secs(4),
            pool_max_idle: 256,
            http2_keep_alive: Duration::from_secs(10),
            proxy: Proxy::Environment,
            ca_file: None,
            identity_files: None,
            unauthorized_statuses: vec![401, 403, 407],
        }
    }
}
