//! The connections to the API: HTTP/1.1 ones that serve one request at a time, or a few of HTTP/2 that are shared.
//!
//! A pool of our own, as it is in the way of every attempt, there is one origin, and what was not sent can be told: the
//! general one beneath reqwest costs half of a request again.

use std::{
    error::Error,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response, Uri,
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::{
    client::legacy::connect::Connection,
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::{Instant, timeout_at};
use tower_service::Service;

use super::connect::{BoxError, Connector};

type Body = Full<Bytes>;

/// Requests at once on a shared connection; servers allow at least about as many. One more would wait there unsent, and its
/// time-out would look like a lost answer.
const SHARED_MOST: usize = 100;

/// What bounds the connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// How long a connection may take: also waiting for another one to be made, DNS, TCP and TLS.
    pub(super) patience: Duration,
    /// How many may wait for a request.
    pub(super) idle_most: usize,
    /// For how long.
    pub(super) idle_for: Duration,
    /// See [`super::Settings::alive_within`].
    pub(super) alive_within: Duration,
}

/// Clones share the connections.
#[derive(Clone)]
pub(super) struct Pool {
    connector: Connector,
    origin: Uri,
    bounds: Bounds,
    state: Arc<Mutex<State>>,
    /// Whoever connects holds it while others may share the connection.
    connecting: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct State {
    /// The longest unused first.
    idle: Vec<(Instant, http1::SendRequest<Body>)>,
    /// Since when each was last taken.
    shared: Vec<(Instant, Shared)>,
    /// The API has been seen to speak HTTP/1.1.
    is_single: bool,
}

/// A connection that a request may use.
pub(super) enum Link {
    Single(http1::SendRequest<Body>),
    Shared(Shared),
}

/// Clones are requests under way, but for the one that the pool has.
#[derive(Clone)]
pub(super) struct Shared {
    sender: http2::SendRequest<Body>,
    requests: Arc<()>,
}

/// Why a request has no answer.
pub(super) enum Unanswered {
    /// Nothing of it was sent.
    NotSent(BoxError),
    /// It may have arrived.
    Broken,
}

impl Pool {
    /// Without connections yet; `origin` is the scheme, host and port of all requests.
    pub(super) fn new(connector: Connector, origin: Uri, bounds: Bounds) -> Self {
        Self { connector, origin, bounds, state: Arc::default(), connecting: Arc::default() }
    }

    /// Sends the request that is made for a link, once: only one that certainly was not taken is made again, for another
    /// link. The link of a whole answer may be [kept](Self::keep).
    pub(super) async fn send(
        &self,
        request: impl Fn(&Link) -> Request<Body>,
    ) -> Result<(Response<Incoming>, Link), Unanswered> {
        let until = Instant::now() + self.bounds.patience;
        loop {
            let (mut link, is_new) = match self.take().await {
                Some(link) => (link, false),
                None => self.connect_until(until).await.map_err(Unanswered::NotSent)?,
            };
            match link.send(request(&link)).await {
                Ok(response) => return Ok((response, link)),
                // A request that comes back was not begun.
                Err(mut error) => match error.take_message().is_some() || was_refused(error.error()) {
                    false => return Err(Unanswered::Broken),
                    true if is_new => return Err(Unanswered::NotSent(error.into_error().into())),
                    true => self.state().forget(&link),
                },
            }
        }
    }

    /// Keeps the link for another request. Its answer must have been read to the end.
    pub(super) fn keep(&self, link: Link) {
        let Link::Single(sender) = link else { return };
        let (now, mut state) = (Instant::now(), self.state());
        if state.idle.len() < self.bounds.idle_most {
            state.idle.push((now, sender));
        }
    }

    /// The one that was used last, as the others may be closed soon.
    async fn take(&self) -> Option<Link> {
        loop {
            let mut single = {
                let mut state = self.state();
                if let Some(shared) = state.share() {
                    return Some(Link::Shared(shared));
                }
                state.idle.pop()?.1
            };
            if single.ready().await.is_ok() {
                return Some(Link::Single(single));
            }
        }
    }

    /// Within less than an attempt's time, so that "not sent" can be told from "no answer".
    async fn connect_until(&self, until: Instant) -> Result<(Link, bool), BoxError> {
        timeout_at(until, Box::pin(self.connect())).await.map_err(io::Error::from)?
    }

    /// A connection, and whether it is new: another one may have made it meanwhile, to be shared.
    async fn connect(&self) -> Result<(Link, bool), BoxError> {
        let mut alone = None;
        if !self.state().is_single {
            alone = Some(self.connecting.lock().await);
        }
        if let Some(shared) = self.state().share() {
            return Ok((Link::Shared(shared), false));
        }
        // What it is was found out meanwhile.
        alone.take_if(|_| self.state().is_single);
        let stream = self.connector.clone().call(self.origin.clone()).await?;
        let is_shared = stream.connected().is_negotiated_h2();
        self.state().is_single = !is_shared;
        if !is_shared {
            // Requests are small: a copy costs less than a list of pieces.
            let (sender, connection) = http1::Builder::new().writev(false).handshake(stream).await?;
            // Its errors are its requests' errors, too.
            tokio::spawn(async move { drop(connection.await) });
            return Ok((Link::Single(sender), true));
        }
        let alive_within = self.bounds.alive_within;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(alive_within).keep_alive_timeout(alive_within);
        let (sender, connection) = builder.handshake(stream).await?;
        tokio::spawn(async move { drop(connection.await) });
        let shared = Shared { sender, requests: Arc::default() };
        self.state().shared.push((Instant::now(), shared.clone()));
        Ok((Link::Shared(shared), true))
    }

    /// Without what is closed, or was unused for too long.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clear(Instant::now(), self.bounds.idle_for);
        state
    }
}

impl State {
    /// A shared connection with room for a request.
    fn share(&mut self) -> Option<Shared> {
        let (since, shared) = self.shared.iter_mut().find(|(_, shared)| shared.under_way() < SHARED_MOST)?;
        *since = Instant::now();
        Some(shared.clone())
    }

    /// It takes no requests any more, though it may still be open.
    fn forget(&mut self, link: &Link) {
        if let Link::Shared(closed) = link {
            self.shared.retain(|(_, shared)| !Arc::ptr_eq(&shared.requests, &closed.requests));
        }
    }

    fn clear(&mut self, now: Instant, idle_for: Duration) {
        let is_old = |since: Instant| now.duration_since(since) >= idle_for;
        let old = self.idle.iter().take_while(|(since, _)| is_old(*since)).count();
        self.idle.drain(..old);
        self.shared.retain(|(since, shared)| {
            let is_unused = shared.under_way() == 0 && is_old(*since);
            !is_unused && !shared.sender.is_closed()
        });
    }
}

impl Shared {
    /// How many requests, without the pool's own clone.
    fn under_way(&self) -> usize {
        Arc::strong_count(&self.requests).saturating_sub(1)
    }
}

/// Whether the peer of a shared connection says that it did not look at the request (RFC 9113, 8.7): it refused it, or went
/// away having taken only earlier ones. The library tells the latter of those alone that came after the last one taken.
fn was_refused(error: &hyper::Error) -> bool {
    let Some(error) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) else { return false };
    let has_gone = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
    let has_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (has_gone || has_refused)
}

impl Link {
    async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        match self {
            Self::Single(sender) => sender.try_send_request(request).await,
            Self::Shared(shared) => shared.sender.try_send_request(request).await,
        }
    }
}
