//! One POST, and what is honestly known after it.

use std::{
    error::Error,
    future::Future,
    io,
    pin::pin,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::{
    Response,
    header::{AUTHORIZATION, HeaderValue, RETRY_AFTER},
};
use rustls::pki_types::CertificateDer;
use tokio::time::{sleep, timeout};

use super::{
    certificates,
    connect::{DnsError, connector},
    error::BuildError,
    link::{Link, Rest, Unanswered},
    pool::{Bounds, Pool},
    post::{Endpoint, Post},
    retry_after,
    settings::ApiSettings,
};
use crate::{
    domain::evidence::{Answer, Evidence, NoAnswer, NotSent},
    files::read_small_file,
};

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

/// What we read of an answer's head.
struct Head {
    status: u16,
    retry_after: Option<Duration>,
    authorization: Option<HeaderValue>,
}

/// The connections to the API, shared by attempts and logins.
#[derive(Clone)]
pub(super) struct Http {
    pool: Pool,
    timeout: Duration,
}

impl Http {
    /// For endpoints under this address.
    pub(super) fn new(settings: &ApiSettings, base: &Endpoint) -> Result<Self, BuildError> {
        let timeout = settings.timeout.min(LONGEST_TIMEOUT);
        let patience = settings.connect_timeout.min(timeout / 2);
        let connector = connector(trusted(settings)?, patience);
        let connector = connector.map_err(|error| BuildError::Http(error.to_string()))?;
        let bounds = Bounds {
            patience,
            idle_most: settings.pool_max_idle,
            idle_for: settings.pool_idle_timeout,
            alive_within: settings.alive_within,
        };
        Ok(Self { pool: Pool::new(connector, base.uri().clone(), bounds), timeout })
    }

    /// Posts once.
    pub(super) fn post<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        authorization: &'a HeaderValue,
        body: &'a Bytes,
    ) -> impl Future<Output = Evidence> + Send + 'a {
        self.exchange(endpoint, Some(authorization), body).map(|(evidence, _)| evidence)
    }

    /// Posts once, without credential; tells the answer's header `Authorization`, too, where a login may give the token.
    pub(super) async fn log_in(&self, endpoint: &Endpoint, body: &Bytes) -> (Evidence, Option<HeaderValue>) {
        self.exchange(endpoint, None, body).await
    }

    /// The deadline is ours, and covers every phase.
    async fn exchange(
        &self,
        endpoint: &Endpoint,
        authorization: Option<&HeaderValue>,
        body: &Bytes,
    ) -> (Evidence, Option<HeaderValue>) {
        let post = Post { endpoint, authorization, body };
        // One timer for all of it: each costs as much as reading the answer.
        let mut deadline = pin!(sleep(self.timeout));
        let (Head { status, retry_after, authorization }, mut rest, mut link) = tokio::select! {
            biased;
            answered = self.pool.send(&post) => match answered {
                Ok((response, link)) => (Head::of(&response), response.into_body(), link),
                Err(unanswered) => return (failure(&unanswered), None),
            },
            () = &mut deadline => return (Evidence::NoAnswer(NoAnswer::Timeout), None),
        };
        // Once there is a status, nothing that happens to the body makes it unknown again.
        let body = tokio::select! {
            biased;
            body = read(&mut link, &mut rest) => body,
            () = deadline => None,
        };
        self.pool.keep(link, &rest);
        (Evidence::Answer(Answer { status, retry_after, body }), authorization)
    }
}

fn trusted(settings: &ApiSettings) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let Some(path) = settings.ca_file.clone() else { return Ok(Vec::new()) };
    let pem = match read_small_file(&path, LARGEST_CA_BYTES) {
        Ok(pem) => pem,
        Err(source) => return Err(BuildError::CaUnreadable { path, source }),
    };
    certificates::parse(pem.as_bytes()).ok_or(BuildError::CaInvalid { path })
}

impl Head {
    fn of(response: &Response<Rest>) -> Self {
        let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = header.and_then(|value| retry_after::parse(value, SystemTime::now()));
        let authorization = response.headers().get(AUTHORIZATION).cloned();
        Self { status: response.status().as_u16(), retry_after, authorization }
    }
}

/// The body, or `None` when it was too long or broke off.
async fn read(link: &mut Link, rest: &mut Rest) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = link.chunk(rest).await? {
        if body.len() + chunk.len() > LONGEST_BODY_BYTES {
            drop(Box::pin(timeout(LONGEST_REST, skip(link, rest))).await);
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}

/// Reads on to the end, if that is near.
async fn skip(link: &mut Link, rest: &mut Rest) -> Option<()> {
    let mut skipped = 0;
    while skipped <= LONGEST_REST_BYTES {
        skipped += link.chunk(rest).await??.len();
    }
    None
}

fn failure(unanswered: &Unanswered) -> Evidence {
    match unanswered {
        Unanswered::NotSent(error) => Evidence::NotSent(not_sent(&**error)),
        Unanswered::Broken => Evidence::NoAnswer(NoAnswer::Broken),
    }
}

fn not_sent(error: &(dyn Error + 'static)) -> NotSent {
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
