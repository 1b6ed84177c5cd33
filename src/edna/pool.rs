//! The connections to the API: HTTP/1.1 ones that serve one request at a time, or one of HTTP/2 that all share.
//!
//! A pool of our own, as it is in the way of every attempt, there is one origin, and what was not sent can be told: the
//! general one beneath reqwest costs half of a request again.

use std::{
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
use tokio::time::Instant;
use tower_service::Service;

use super::connect::{BoxError, Connector};

type Body = Full<Bytes>;

/// What bounds the connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
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
    /// Whoever connects holds it as long as the connection may be for all.
    first: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct State {
    /// The longest unused first.
    idle: Vec<(Instant, http1::SendRequest<Body>)>,
    shared: Option<http2::SendRequest<Body>>,
    /// The API has been seen to speak HTTP/1.1.
    is_single: bool,
}

/// A connection that a request may use.
pub(super) enum Link {
    Single(http1::SendRequest<Body>),
    Shared(http2::SendRequest<Body>),
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
        Self { connector, origin, bounds, state: Arc::default(), first: Arc::default() }
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
                None => self.connect().await.map_err(Unanswered::NotSent)?,
            };
            match link.send(request(&link)).await {
                Ok(response) => return Ok((response, link)),
                // A request that comes back was not begun.
                Err(mut error) => match error.take_message() {
                    None => return Err(Unanswered::Broken),
                    Some(_) if is_new => return Err(Unanswered::NotSent(error.into_error().into())),
                    Some(_) => link.forget(&mut self.state()),
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
                if let Some(shared) = state.shared.as_ref().filter(|shared| !shared.is_closed()) {
                    return Some(Link::Shared(shared.clone()));
                }
                state.drop_unused(Instant::now(), self.bounds.idle_for);
                state.idle.pop()?.1
            };
            if single.ready().await.is_ok() {
                return Some(Link::Single(single));
            }
        }
    }

    /// A connection, and whether it is new: another one may have made it for all meanwhile.
    async fn connect(&self) -> Result<(Link, bool), BoxError> {
        let is_single = self.state().is_single;
        let _alone = if is_single { None } else { Some(self.first.lock().await) };
        if !is_single && let Some(shared) = self.state().shared.clone().filter(|shared| !shared.is_closed()) {
            return Ok((Link::Shared(shared), false));
        }
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
        self.state().shared = Some(sender.clone());
        Ok((Link::Shared(sender), true))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn drop_unused(&mut self, now: Instant, idle_for: Duration) {
        let unused = self.idle.iter().take_while(|(since, _)| now.duration_since(*since) >= idle_for).count();
        self.idle.drain(..unused);
    }
}

impl Link {
    async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        match self {
            Self::Single(sender) => sender.try_send_request(request).await,
            Self::Shared(sender) => sender.try_send_request(request).await,
        }
    }

    /// It is closed: nobody is to take it again.
    fn forget(self, state: &mut State) {
        if let Self::Shared(_) = self {
            state.shared = None;
        }
    }
}
