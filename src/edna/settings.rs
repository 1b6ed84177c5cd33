//! What the client is told about the API, besides its credential.

use std::{path::PathBuf, time::Duration};

/// Where the API is and how long we are patient with it.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// `api.base_url`: http or https, may carry a path prefix; no user, query or fragment.
    pub base_url: String,
    /// `api.path`, appended to the base.
    pub path: String,
    /// `api.timeout`: for one attempt as a whole, from connecting to the answer's last byte; at most a day.
    pub timeout: Duration,
    /// For DNS, TCP and TLS together; never more than half of `timeout`, so that "not sent" can be told from "no answer".
    pub connect_timeout: Duration,
    /// How long an unused connection waits for another request. Below the server's keep-alive, else a POST meets a closing connection.
    pub pool_idle_timeout: Duration,
    /// How many unused connections are kept; at least the most attempts in flight.
    pub pool_max_idle: usize,
    /// A peer on an HTTP/2 connection that is silent for so long is asked whether it lives, and has as long again to answer:
    /// attempts share the connection, so none of them would end it.
    pub alive_within: Duration,
    /// `api.ca_file`: PEM certificates trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// `api.unauthorized_statuses`: the answers after which the credential is renewed.
    pub unauthorized_statuses: Vec<u16>,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            base_url: String::new(),
            path: "/api/v1/messages/outgoing-to-device".into(),
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            pool_idle_timeout: Duration::from_secs(15),
            pool_max_idle: 256,
            alive_within: Duration::from_secs(10),
            ca_file: None,
            unauthorized_statuses: vec![401, 403, 407],
        }
    }
}
