//! One POST, and what is honestly known after it.

use std::{
    error::Error,
    future::Future,
    io,
    pin::{Pin, pin},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, Response, Uri,
    body::Incoming,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT},
};
use hyper_util::{
    client::legacy::{self, Client},
    rt::{TokioExecutor, TokioTimer},
};
use reqwest::Url;
use rustls::pki_types::CertificateDer;
use tokio::time::{Sleep, sleep, timeout};

use super::{
    certificates,
    connect::{Connector, DnsError},
    error::BuildError,
    read::read_file,
    retry_after,
    settings::Settings,
};
use crate::domain::evidence::{Answer, Evidence, NoAnswer, NotSent};

/// Longer answers are cut off: nothing that we read is near it.
const LONGEST_BODY_BYTES: usize = 64 * 1024;
/// A rest up to this is read and thrown away, so that the connection can serve again.
const LONGEST_REST_BYTES: usize = 64 * 1024;
/// And for so long: a connection is not worth more of an attempt's time.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// All certificates of the world are smaller.
const LARGEST_CA_BYTES: u32 = 1 << 20;
/// More patience than this is none, and keeps deadlines within what a clock can hold.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// Says who calls, to the API's own logs.
const CALLER: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Where to post, with the headers that each request has.
#[derive(Clone)]
pub(super) struct Endpoint {
    uri: Uri,
    headers: HeaderMap,
}

impl Endpoint {
    /// At an address that [`super::join`] made for this setting.
    pub(super) fn new(url: &Url, setting: &'static str) -> Result<Self, BuildError> {
        let wrong = |_| BuildError::Address { setting, problem: "it holds characters that no request can carry" };
        let uri = Uri::try_from(url.as_str()).map_err(wrong)?;
        let json = HeaderValue::from_static("application/json");
        let headers = [(ACCEPT, json.clone()), (CONTENT_TYPE, json), (USER_AGENT, HeaderValue::from_static(CALLER))];
        Ok(Self { uri, headers: HeaderMap::from_iter(headers) })
    }

    /// With the header `Authorization`, if there is one.
    fn request(&self, authorization: Option<HeaderValue>, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().extend(authorization.map(|value| (AUTHORIZATION, value)));
        request
    }
}

/// The connections to the API, shared by attempts and logins.
#[derive(Clone)]
pub(super) struct Http {
    client: Client<Connector, Full<Bytes>>,
    timeout: Duration,
}

impl Http {
    pub(super) fn new(settings: &Settings) -> Result<Self, BuildError> {
        let timeout = settings.timeout.min(LONGEST_TIMEOUT);
        let connector = Connector::new(trusted(settings)?, settings.connect_timeout.min(timeout / 2));
        let connector = connector.map_err(|error| BuildError::Http(error.to_string()))?;
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(settings.pool_idle_timeout)
            .pool_max_idle_per_host(settings.pool_max_idle)
            .http2_keep_alive_interval(settings.alive_within)
            .http2_keep_alive_timeout(settings.alive_within)
            .build(connector);
        Ok(Self { client, timeout })
    }

    /// Posts once. The deadline is ours, and covers every phase.
    pub(super) fn post(
        &self,
        endpoint: &Endpoint,
        authorization: HeaderValue,
        body: Bytes,
    ) -> impl Future<Output = Evidence> + Send + use<> {
        self.exchange(endpoint.request(Some(authorization), body)).map(|(evidence, _)| evidence)
    }

    /// As [`Self::post`], without credential; and the answer's header `Authorization`, where a login may give the token.
    pub(super) fn log_in(
        &self,
        endpoint: &Endpoint,
        body: Bytes,
    ) -> impl Future<Output = (Evidence, Option<HeaderValue>)> + Send + use<> {
        self.exchange(endpoint.request(None, body))
    }

    fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> impl Future<Output = (Evidence, Option<HeaderValue>)> + Send + use<> {
        let (timeout, sending) = (self.timeout, self.client.request(request));
        async move {
            // One timer for all of it: each costs as much as reading the answer.
            let mut deadline = pin!(sleep(timeout));
            let answered = tokio::select! {
                biased;
                answered = sending => answered,
                () = &mut deadline => return (Evidence::NoAnswer(NoAnswer::Timeout), None),
            };
            let mut response = match answered {
                Ok(response) => response,
                Err(error) => return (failure(&error), None),
            };
            let authorization = response.headers_mut().remove(AUTHORIZATION);
            (Evidence::Answer(answer(&mut response, deadline).await), authorization)
        }
    }
}

fn trusted(settings: &Settings) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let Some(path) = settings.ca_file.clone() else { return Ok(Vec::new()) };
    let pem = match read_file(&path, LARGEST_CA_BYTES) {
        Ok(pem) => pem,
        Err(source) => return Err(BuildError::CaUnreadable { path, source }),
    };
    certificates::parse(pem.as_bytes()).ok_or(BuildError::CaInvalid { path })
}

/// Once there is a status, nothing that happens to the body makes it unknown again.
async fn answer(response: &mut Response<Incoming>, deadline: Pin<&mut Sleep>) -> Answer {
    let status = response.status().as_u16();
    let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = header.and_then(|value| retry_after::parse(value, SystemTime::now()));
    let body = tokio::select! {
        biased;
        body = read(response.body_mut()) => body,
        () = deadline => None,
    };
    Answer { status, retry_after, body }
}

/// The body, or `None` when it was too long or broke off.
async fn read(incoming: &mut Incoming) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = chunk(incoming).await? {
        if body.len() + chunk.len() > LONGEST_BODY_BYTES {
            drop(timeout(LONGEST_REST, Box::pin(skip_rest(incoming))).await);
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}

async fn skip_rest(incoming: &mut Incoming) {
    let mut skipped = 0;
    while skipped <= LONGEST_REST_BYTES
        && let Some(Some(chunk)) = chunk(incoming).await
    {
        skipped += chunk.len();
    }
}

/// The next piece, or that there is none; `None` when it broke off. Trailers are none.
async fn chunk(incoming: &mut Incoming) -> Option<Option<Bytes>> {
    match incoming.frame().await {
        Some(frame) => Some(Some(frame.ok()?.into_data().unwrap_or_default())),
        None => Some(None),
    }
}

/// Only what failed while connecting was certainly not sent; anything later may have reached the API.
fn failure(error: &legacy::Error) -> Evidence {
    if error.is_connect() { Evidence::NotSent(not_sent(error)) } else { Evidence::NoAnswer(NoAnswer::Broken) }
}

fn not_sent(error: &legacy::Error) -> NotSent {
    if chain(error).any(|cause| cause.is::<DnsError>()) {
        NotSent::Dns
    } else if chain(error).any(is_tls) {
        NotSent::Tls
    } else {
        NotSent::Connect
    }
}

/// An `io::Error` hides what it wraps from the chain of sources, so it is looked into. A handshake that the peer
/// cut short is an end of file, which connecting alone never is.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let Some(io) = error.downcast_ref::<io::Error>() else { return error.is::<rustls::Error>() };
    io.kind() == io::ErrorKind::UnexpectedEof || io.get_ref().is_some_and(|wrapped| is_tls(wrapped))
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
