//! The one HTTP client of the daemon, for attempts and logins.

use std::{
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use reqwest::{
    ClientBuilder, Response, StatusCode,
    header::{AUTHORIZATION, HeaderValue, PROXY_AUTHENTICATE, RETRY_AFTER},
    redirect, retry,
};
use tokio::time::{Sleep, sleep};
use tracing::info;

use super::{
    endpoint::Endpoint, error::BuildError, failure, keep_alive, proxy::Proxy, retry_after, settings::ApiSettings, tls,
};
use crate::{
    domain::evidence::{Answer, Evidence, NoAnswer},
    ports::{Clock, SystemClock},
    sync::lock,
};

/// The `User-Agent`, also towards a proxy.
const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
/// A longer response body is not read to its end.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// The most headers of a response, and over HTTP/2 their size. Beyond them the status of a POST is lost.
const MAX_HEADERS: usize = 256;
const MAX_HEADER_BYTES: u32 = 256 * 1024;
/// Upper bound for the timeout of an attempt, so that a deadline cannot overflow.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// TCP keep-alive: the time without traffic before a probe and between probes, and how many probes are sent.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(15);
const TCP_KEEP_ALIVE_PROBES: u32 = 3;
/// How long sent data may stay unacknowledged before the kernel closes the connection.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection pool and the timeout of a request. Clones share the pool.
#[derive(Clone)]
pub(super) struct HttpClient {
    pool: Arc<Mutex<Pool>>,
    timeout: Duration,
    proxy: Proxy,
}

/// The connections, and the settings that they have.
struct Pool {
    client: reqwest::Client,
    settings: ApiSettings,
}

/// What a login reads from a response besides the evidence.
pub(super) struct LoginResponse {
    pub(super) evidence: Evidence,
    /// The header `Authorization`, where a login may return the token.
    pub(super) authorization: Option<HeaderValue>,
}

impl HttpClient {
    pub(super) fn new(settings: &ApiSettings) -> Result<Self, BuildError> {
        let timeout = settings.timeout.min(MAX_TIMEOUT);
        let builder = pooled(settings)
            .user_agent(USER_AGENT)
            .connect_timeout(settings.connect_timeout.min(timeout / 2))
            // With no retry allowed, reqwest keeps no copy of the request either.
            .retry(retry::never().max_retries_per_request(0))
            .redirect(redirect::Policy::none())
            .referer(false);
        let builder = settings.proxy.apply(with_certificates(builder, settings)?)?;
        let pool = Pool { client: builder.build()?, settings: settings.clone() };
        Ok(Self { pool: Arc::new(Mutex::new(pool)), timeout, proxy: settings.proxy.clone() })
    }

    /// Replaces the connections by ones that are given up before the server closes them, if it states a shorter time than
    /// the one in use: a POST that meets a connection which is being closed is uncertain. A client's idle time is fixed.
    fn heed_keep_alive(&self, response: &Response) {
        let Some(idle_limit) = keep_alive::idle_limit(response.headers()) else { return };
        let mut pool = lock(&self.pool);
        if idle_limit < pool.settings.pool_idle_timeout {
            let idle_ms = u64::try_from(idle_limit.as_millis()).unwrap_or(u64::MAX);
            let settings = ApiSettings { pool_idle_timeout: idle_limit, ..pool.settings.clone() };
            // Unless a certificate file cannot be read now: the next response repeats it.
            if let Ok(replaced) = Self::new(&settings) {
                info!(idle_ms, "the API states a shorter Keep-Alive: idle connections are closed after {idle_ms} ms");
                std::mem::swap(&mut *pool, &mut *lock(&replaced.pool));
            }
        }
    }

    /// Posts `body` once and returns the evidence. The deadline covers every phase, from the wait for a connection to the
    /// last byte of the response.
    pub(super) async fn post(&self, endpoint: &Endpoint, authorization: &HeaderValue, body: &Bytes) -> Evidence {
        let mut deadline = pin!(sleep(self.timeout));
        match self.response(endpoint, Some(authorization), body, deadline.as_mut()).await {
            Ok(response) => answer(response, deadline).await,
            Err(evidence) => evidence,
        }
    }

    /// Posts a login, which has no credential.
    pub(super) async fn log_in(&self, endpoint: &Endpoint, body: &Bytes) -> LoginResponse {
        let mut deadline = pin!(sleep(self.timeout));
        match self.response(endpoint, None, body, deadline.as_mut()).await {
            Ok(response) => {
                let authorization = response.headers().get(AUTHORIZATION).cloned();
                LoginResponse { evidence: answer(response, deadline).await, authorization }
            }
            Err(evidence) => LoginResponse { evidence, authorization: None },
        }
    }

    /// The head of the response, or the evidence when there is none.
    async fn response(
        &self,
        endpoint: &Endpoint,
        authorization: Option<&HeaderValue>,
        body: &Bytes,
        deadline: Pin<&mut Sleep>,
    ) -> Result<Response, Evidence> {
        let request = endpoint.request(authorization, body.clone());
        let client = lock(&self.pool).client.clone();
        let response = tokio::select! {
            biased;
            response = client.execute(request) => response,
            () = deadline => return Err(Evidence::NoAnswer(NoAnswer::Timeout)),
        };
        let response = response.map_err(|error| failure::evidence(&error, &self.proxy))?;
        if self.is_from_proxy(endpoint, &response) {
            return Err(failure::proxy_authentication_required(&self.proxy));
        }
        self.heed_keep_alive(&response);
        Ok(response)
    }

    /// Whether a proxy refused to forward the request. Over `https` a proxy answers the CONNECT, so such a response can
    /// only come over plain `http`.
    fn is_from_proxy(&self, endpoint: &Endpoint, response: &Response) -> bool {
        response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
            && !endpoint.is_https()
            && match self.proxy {
                Proxy::Url { .. } => self.proxy.is_http(),
                Proxy::Environment => response.headers().contains_key(PROXY_AUTHENTICATE),
                Proxy::Disabled => false,
            }
    }
}

/// The settings of the connections.
fn pooled(settings: &ApiSettings) -> ClientBuilder {
    let builder = reqwest::Client::builder()
        .pool_idle_timeout(settings.pool_idle_timeout)
        .pool_max_idle_per_host(settings.pool_max_idle)
        .http2_keep_alive_interval(settings.http2_keep_alive)
        .http2_keep_alive_timeout(settings.http2_keep_alive)
        // A flaw in another header must not hide the status of a POST.
        .http1_ignore_invalid_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_max_headers(MAX_HEADERS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .tcp_nodelay(true)
        .tcp_keepalive(TCP_KEEP_ALIVE)
        .tcp_keepalive_interval(TCP_KEEP_ALIVE)
        .tcp_keepalive_retries(TCP_KEEP_ALIVE_PROBES);
    #[cfg(target_os = "linux")]
    let builder = builder.tcp_user_timeout(TCP_USER_TIMEOUT);
    builder
}

fn with_certificates(mut builder: ClientBuilder, settings: &ApiSettings) -> Result<ClientBuilder, BuildError> {
    let authorities = settings.ca_file.as_deref().map(tls::read_authorities).transpose()?.unwrap_or_default();
    builder = if uses_tls(settings) || has_system_authorities() {
        builder.tls_certs_merge(authorities)
    } else {
        builder.tls_certs_only(authorities)
    };
    if let Some((cert_file, key_file)) = &settings.identity_files {
        builder = builder.identity(tls::read_identity(cert_file, key_file)?);
    }
    Ok(builder)
}

/// Whether the settings lead to a TLS connection. A proxy of the environment is not known here.
fn uses_tls(settings: &ApiSettings) -> bool {
    let is_https = |url: &str| url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"));
    is_https(&settings.base_url) || is_https(&settings.proxy.to_string())
}

/// Without the system's CA certificates reqwest builds no client, not even one that needs none.
fn has_system_authorities() -> bool {
    reqwest::Client::builder().no_proxy().build().is_ok()
}

/// Reads the rest of a response. Its status is known, whatever happens to its body.
async fn answer(response: Response, deadline: Pin<&mut Sleep>) -> Evidence {
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|value| retry_after::parse(value, SystemClock.now().into()));
    let body = tokio::select! {
        biased;
        body = read_body(response) => body,
        () = deadline => None,
    };
    Evidence::Answer(Answer { status, retry_after, body })
}

/// The body, or `None` when it is longer than [`MAX_BODY_BYTES`] or breaks off. The connection of a body that is not read
/// to its end is closed.
async fn read_body(mut response: Response) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}
