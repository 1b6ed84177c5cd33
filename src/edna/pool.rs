//! The connections to the API: HTTP/1.1 ones that serve one request at a time, or a few of HTTP/2 that are shared.
//!
//! A pool of our own, as it is in the way of every attempt, there is one origin, and what was not sent can be told: the
//! general one beneath reqwest costs half of a request again.

use std::{
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
use tokio::time::{Instant, timeout};
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
    shared: Vec<Shared>,
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

    /// Sends the request that is made for a link, once: only one that certainly met a closed connection is made again, for
    /// another. The link of a whole answer may be [kept](Self::keep).
    pub(super) async fn send(
        &self,
        request: impl Fn(&Link) -> Request<Body>,
    ) -> Result<(Response<Incoming>, Link), Unanswered> {
        loop {
            let (mut link, is_new) = match self.take().await {
                Some(link) => (link, false),
                None => self.connect_in_time().await.map_err(Unanswered::NotSent)?,
            };
            match link.send(request(&link)).await {
                Ok(response) => return Ok((response, link)),
                // A request that comes back was not begun.
                Err(mut error) => match error.take_message() {
                    None => return Err(Unanswered::Broken),
                    Some(_) if is_new => return Err(Unanswered::NotSent(error.into_error().into())),
                    Some(_) => self.state().forget(&link),
                },
            }
        }
    }

    /// Keeps the link for another request. Its answer must have been read to the end.
    pub(super) fn keep(&self, link: Link) {
        let Link::Single(sender) = link else { return };
        let (now, mut state) = (Instant::now(), self.state());
        state.drop_unused(now, self.bounds.idle_for);
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
                state.drop_unused(Instant::now(), self.bounds.idle_for);
                state.idle.pop()?.1
            };
            if single.ready().await.is_ok() {
                return Some(Link::Single(single));
            }
        }
    }

    /// Within less than an attempt's time, so that "not sent" can be told from "no answer".
    async fn connect_in_time(&self) -> Result<(Link, bool), BoxError> {
        timeout(self.bounds.patience, Box::pin(self.connect())).await.map_err(io::Error::from)?
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
        self.state().shared.push(shared.clone());
        Ok((Link::Shared(shared), true))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A shared connection with room for a request.
    fn share(&mut self) -> Option<Shared> {
        self.shared.retain(|shared| !shared.sender.is_closed());
        self.shared.iter().find(|shared| Arc::strong_count(&shared.requests) <= SHARED_MOST).cloned()
    }

    /// The link is closed: nobody is to take it again.
    fn forget(&mut self, link: &Link) {
        if let Link::Shared(closed) = link {
            self.shared.retain(|shared| !Arc::ptr_eq(&shared.requests, &closed.requests));
        }
    }

    fn drop_unused(&mut self, now: Instant, idle_for: Duration) {
        let unused = self.idle.iter().take_while(|(since, _)| now.duration_since(*since) >= idle_for).count();
        self.idle.drain(..unused);
    }
}

impl Link {
    async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        match self {
            Self::Single(sender) => sender.try_send_request(request).await,
            Self::Shared(shared) => shared.sender.try_send_request(request).await,
        }
    }
}
