//! Connects to the API: DNS, TCP and TLS.

use std::{
    error::Error,
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{
    HttpConnector,
    dns::{GaiAddrs, GaiResolver, Name},
};
use rustls::{ClientConfig, crypto::aws_lc_rs, pki_types::CertificateDer};
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

/// A peer that is gone without a word is noticed after this and as many probes: for connections in use and idle ones.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const KEEP_ALIVE_PROBES: u32 = 3;
/// What was written and is not taken by the peer for so long will not be.
const UNACKNOWLEDGED_MOST: Duration = Duration::from_secs(30);

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// HTTP or HTTPS, as the address says; over TLS, HTTP/2 where the API offers it.
pub(super) type Connector = HttpsConnector<HttpConnector<Resolver>>;
/// What it makes.
pub(super) type Connection = <Connector as Service<Uri>>::Response;

/// A connection for one request at a time. Boxed by what it is: what TLS needs takes a kilobyte.
pub(super) type Stream = Box<dyn Io>;

pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// For one request at a time.
pub(super) fn stream(connection: Connection) -> Stream {
    match connection {
        MaybeHttpsStream::Http(tcp) => Box::new(tcp.into_inner()),
        MaybeHttpsStream::Https(tls) => Box::new(tls.into_inner()),
    }
}

/// Trusts the system's certificates and `extra` ones; each of several addresses gets its share of `patience`.
pub(super) fn connector(extra: Vec<CertificateDer<'static>>, patience: Duration) -> Result<Connector, rustls::Error> {
    let mut tcp = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEP_ALIVE));
    tcp.set_keepalive_interval(Some(KEEP_ALIVE));
    tcp.set_keepalive_retries(Some(KEEP_ALIVE_PROBES));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MOST));
    tcp.set_connect_timeout(Some(patience));
    let tls = HttpsConnectorBuilder::new().with_tls_config(tls(extra)?);
    Ok(tls.https_or_http().enable_all_versions().wrap_connector(tcp))
}

fn tls(extra: Vec<CertificateDer<'static>>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier::new_with_extra_roots(extra, provider.clone())?;
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    // The library's word for a verifier that is not its own: this one asks the system's store.
    Ok(config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// The system's resolver, whose failures can be told from others.
#[derive(Clone)]
pub(super) struct Resolver(GaiResolver);

impl Service<Name> for Resolver {
    type Response = GaiAddrs;
    type Error = DnsError;
    type Future = Boxed<Result<GaiAddrs, DnsError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), DnsError>> {
        self.0.poll_ready(context).map_err(DnsError)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolving = self.0.call(name);
        Box::pin(async move { resolving.await.map_err(DnsError) })
    }
}

/// The API's name could not be resolved.
#[derive(Debug)]
pub(super) struct DnsError(io::Error);

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the name cannot be resolved: {}", self.0)
    }
}

impl Error for DnsError {}
