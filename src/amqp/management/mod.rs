//! The HTTP API of RabbitMQ's management plugin, for data that AMQP does not expose, such as policies. Optional.

mod url;

use std::{error::Error, time::Duration};

use reqwest::{Certificate, Client, StatusCode, Url, redirect};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

pub use self::url::ManagementUrl;

/// For a whole request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The description of a queue is some KiB long.
const MAX_BODY_BYTES: usize = 4 << 20;

/// Why the management API gives no answer. Shows no credentials.
#[derive(Debug, thiserror::Error)]
pub enum ManagementError {
    /// The certificates of `broker.ca_file` cannot be used, or the system has none.
    #[error("the HTTP client for broker.management_url cannot be built: {0}")]
    Client(String),
    /// DNS, TCP, TLS or a timeout.
    #[error(
        "broker.management_url: no answer from {origin}: {problem}; check the URL and the plugin rabbitmq_management"
    )]
    Unreachable {
        /// Scheme, host and port.
        origin: String,
        /// The cause.
        problem: String,
    },
    /// 401: the user is unknown, its password is wrong, or it has no tag.
    #[error(
        "broker.management_url: {origin} refuses the user (401); check user and password, and that the user has the \
         tag monitoring or management"
    )]
    Unauthorized {
        /// Scheme, host and port.
        origin: String,
    },
    /// Another status.
    #[error(
        "broker.management_url: {origin} answered with HTTP status {status}; check that it is RabbitMQ's management API"
    )]
    Status {
        /// Scheme, host and port.
        origin: String,
        /// Neither 2xx nor 401.
        status: u16,
    },
    /// The body is not what the API documents.
    #[error("broker.management_url: the answer of {origin} cannot be read; check that it is RabbitMQ's management API")]
    Unreadable {
        /// Scheme, host and port.
        origin: String,
    },
}

/// A queue or an exchange, with the policies that apply to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManagedObject {
    /// As declared, by their names in AMQP.
    pub arguments: Map<String, Value>,
    /// The merged definition of the policy and the operator policy, by their names in policies.
    pub policy: Map<String, Value>,
    /// The names of these policies.
    pub policy_names: Vec<String>,
    /// Messages in the queue, those included that the broker is dead-lettering. `None` for an exchange, and for a few
    /// seconds after a queue was declared.
    pub messages: Option<u64>,
}

#[derive(Deserialize)]
struct QueueBody {
    #[serde(default)]
    arguments: Value,
    #[serde(default)]
    effective_policy_definition: Value,
    policy: Option<String>,
    operator_policy: Option<String>,
    messages: Option<u64>,
}

#[derive(Deserialize)]
struct ExchangeBody {
    #[serde(default)]
    arguments: Value,
    policy: Option<String>,
}

#[derive(Deserialize)]
struct PolicyBody {
    #[serde(default)]
    definition: Value,
}

#[derive(Deserialize)]
struct FeatureFlag {
    name: String,
    /// `enabled`, `disabled` or `unavailable`.
    state: String,
}

/// A client of the management API for one vhost.
pub struct ManagementApi {
    client: Client,
    url: Url,
    origin: String,
    vhost: String,
}

impl ManagementApi {
    /// `authorities` are PEM certificates to trust besides the system's.
    ///
    /// # Errors
    /// [`ManagementError::Client`]
    pub fn new(url: &ManagementUrl, vhost: &str, authorities: Option<&str>) -> Result<Self, ManagementError> {
        let unusable = |error: reqwest::Error| ManagementError::Client(root_cause(&error));
        let mut builder = Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            // The broker's password is not for a proxy or another host.
            .no_proxy()
            .redirect(redirect::Policy::none());
        let authorities = authorities.map(|pem| Certificate::from_pem_bundle(pem.as_bytes())).transpose();
        let authorities = authorities.map_err(unusable)?.unwrap_or_default();
        // Without TLS, the system needs no CA certificates.
        builder = if url.url().scheme() == "https" {
            builder.tls_certs_merge(authorities)
        } else {
            builder.tls_certs_only(authorities)
        };
        let client = builder.build().map_err(unusable)?;
        Ok(Self { client, url: url.url().clone(), origin: url.origin(), vhost: vhost.to_owned() })
    }

    /// Returns a queue; `None` if it does not exist.
    ///
    /// # Errors
    /// The API does not answer, or not as documented.
    pub async fn queue(&self, name: &str) -> Result<Option<ManagedObject>, ManagementError> {
        let Some(queue) = self.get::<QueueBody>(&["queues", &self.vhost, name]).await? else { return Ok(None) };
        Ok(Some(ManagedObject {
            arguments: object(queue.arguments),
            policy: object(queue.effective_policy_definition),
            policy_names: [queue.policy, queue.operator_policy].into_iter().flatten().collect(),
            messages: queue.messages,
        }))
    }

    /// Returns an exchange; `None` if it does not exist.
    ///
    /// # Errors
    /// As [`Self::queue`].
    pub async fn exchange(&self, name: &str) -> Result<Option<ManagedObject>, ManagementError> {
        let Some(exchange) = self.get::<ExchangeBody>(&["exchanges", &self.vhost, name]).await? else {
            return Ok(None);
        };
        let policy = match &exchange.policy {
            Some(name) => self.policy(name).await?,
            None => Map::new(),
        };
        Ok(Some(ManagedObject {
            arguments: object(exchange.arguments),
            policy,
            policy_names: exchange.policy.into_iter().collect(),
            messages: None,
        }))
    }

    /// Returns the definition of a policy; empty if the user lacks the tag `policymaker`, which reading it needs.
    async fn policy(&self, name: &str) -> Result<Map<String, Value>, ManagementError> {
        match self.get::<PolicyBody>(&["policies", &self.vhost, name]).await {
            Ok(policy) => Ok(policy.map(|policy| object(policy.definition)).unwrap_or_default()),
            Err(ManagementError::Unauthorized { .. }) => Ok(Map::new()),
            Err(error) => Err(error),
        }
    }

    /// Whether the feature flag `stream_queue` is disabled. RabbitMQ 3.10 and 3.11 then silently dead-letter at most once.
    /// `None` if the user may not read feature flags: up to RabbitMQ 3.12 that needs the tag `administrator`.
    ///
    /// # Errors
    /// As [`Self::queue`].
    pub async fn is_stream_queue_disabled(&self) -> Result<Option<bool>, ManagementError> {
        let flags: Vec<FeatureFlag> = match self.get(&["feature-flags"]).await {
            Ok(flags) => flags.unwrap_or_default(),
            Err(ManagementError::Unauthorized { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(flags.iter().any(|flag| flag.name == "stream_queue" && flag.state != "enabled")))
    }

    /// GETs a resource; `None` for 404.
    async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Option<T>, ManagementError> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("api").extend(path);
        }
        let origin = || self.origin.clone();
        let unreachable =
            |error: reqwest::Error| ManagementError::Unreachable { origin: origin(), problem: root_cause(&error) };
        let mut response = self.client.get(url).send().await.map_err(unreachable)?;
        match response.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::UNAUTHORIZED => return Err(ManagementError::Unauthorized { origin: origin() }),
            status if !status.is_success() => {
                return Err(ManagementError::Status { origin: origin(), status: status.as_u16() });
            }
            _ => {}
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(ManagementError::Unreadable { origin: origin() });
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map(Some).map_err(|_| ManagementError::Unreadable { origin: origin() })
    }
}

/// RabbitMQ writes an empty definition as `[]` or `""`, too.
fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}

/// The innermost cause: the outer ones name the URL, which holds the password.
fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", REQUEST_TIMEOUT.as_secs());
    }
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if cause.is::<reqwest::Error>() { "the request failed".to_owned() } else { cause.to_string() }
}
