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
use reqwest::{
    Certificate, Method, Request, Response, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
    redirect, retry,
};
use tokio::time::{Sleep, sleep, timeout};

use super::{certificates, error::BuildError, read::read_file, retry_after, settings::Settings};
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
const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// The connections to the API, shared by attempts and logins.
#[derive(Clone, Debug)]
pub(super) struct Http {
    client: reqwest::Client,
    timeout: Duration,
}

impl Http {
    pub(super) fn new(settings: &Settings) -> Result<Self, BuildError> {
        let timeout = settings.timeout.min(LONGEST_TIMEOUT);
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .http1_only()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(settings.connect_timeout.min(timeout / 2))
            .pool_idle_timeout(settings.pool_idle_timeout)
            .pool_max_idle_per_host(settings.pool_max_idle);
        if settings.ca_file.is_some() {
            builder = builder.tls_certs_merge(trusted(settings)?);
        }
        let client = builder.build().map_err(|error| BuildError::Http(innermost(&error).to_string()))?;
        Ok(Self { client, timeout })
    }

    /// A request for [`Self::execute`], still without its body.
    pub(super) fn post(&self, url: Url) -> Request {
        let mut request = Request::new(Method::POST, url);
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(ACCEPT, json.clone());
        request.headers_mut().insert(CONTENT_TYPE, json);
        request
    }

    /// Sends the request once. The deadline is ours: the library's has been known not to cover every phase.
    pub(super) fn execute(&self, request: Request, body: Bytes) -> impl Future<Output = Evidence> + Send + use<> {
        self.exchange(request, body).map(|(evidence, _)| evidence)
    }

    /// As [`Self::execute`], and the answer's header `Authorization`, where a login may give the token.
    pub(super) fn exchange(
        &self,
        mut request: Request,
        body: Bytes,
    ) -> impl Future<Output = (Evidence, Option<HeaderValue>)> + Send + use<> {
        *request.body_mut() = Some(body.into());
        let (timeout, sending) = (self.timeout, self.client.execute(request));
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

fn trusted(settings: &Settings) -> Result<Vec<Certificate>, BuildError> {
    let Some(path) = settings.ca_file.clone() else { return Ok(Vec::new()) };
    let pem = match read_file(&path, LARGEST_CA_BYTES) {
        Ok(pem) => pem,
        Err(source) => return Err(BuildError::CaUnreadable { path, source }),
    };
    certificates::parse(pem.as_bytes()).ok_or(BuildError::CaInvalid { path })
}

/// Once there is a status, nothing that happens to the body makes it unknown again.
async fn answer(response: &mut Response, deadline: Pin<&mut Sleep>) -> Answer {
    let status = response.status().as_u16();
    let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = header.and_then(|value| retry_after::parse(value, SystemTime::now()));
    let body = tokio::select! {
        biased;
        body = read(response) => body,
        () = deadline => None,
    };
    Answer { status, retry_after, body }
}

/// The body, or `None` when it was too long or broke off.
async fn read(response: &mut Response) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > LONGEST_BODY_BYTES {
            drop(timeout(LONGEST_REST, Box::pin(skip_rest(response))).await);
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}

async fn skip_rest(response: &mut Response) {
    let mut skipped = 0;
    while skipped <= LONGEST_REST_BYTES
        && let Ok(Some(chunk)) = response.chunk().await
    {
        skipped += chunk.len();
    }
}

/// Only what failed while connecting was certainly not sent; anything later may have reached the API.
fn failure(error: &reqwest::Error) -> Evidence {
    if error.is_connect() || error.is_builder() {
        Evidence::NotSent(not_sent(error))
    } else if error.is_timeout() {
        Evidence::NoAnswer(NoAnswer::Timeout)
    } else {
        Evidence::NoAnswer(NoAnswer::Broken)
    }
}

fn not_sent(error: &reqwest::Error) -> NotSent {
    if error.is_dns() {
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

/// The cause alone: the outer layers repeat themselves and may name an address.
fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    chain(error).last().unwrap_or(error)
}
