//! The connections to the API: HTTP/1.1 ones that serve one request at a time, or a few of HTTP/2 that are shared.
//!
//! A pool of our own, as it is in the way of every attempt, there is one origin, and what was not sent can be told: the
//! general one beneath reqwest costs half of a request again.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use hyper::{Response, Uri, client::conn::http2};
use hyper_util::{
    client::legacy::connect::Connection as _,
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::{Instant, sleep, timeout_at};
use tower_service::Service;

use super::{
    connect::{BoxError, Connection, Connector, Stream, stream},
    link::{Link, Rest, Shared, Unanswered},
    post::Post,
    single::Single,
};

/// Requests at once on a shared connection; servers allow at least about as many. One more would wait there unsent, and its
/// time-out would look like a lost answer.
const SHARED_MOST: usize = 100;
/// Unused connections are not looked after more often than this.
const LOOK_LEAST: Duration = Duration::from_millis(100);

/// What bounds the connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// How long a connection may take: also waiting for another one to be made, DNS, TCP and TLS.
    pub(super) patience: Duration,
    /// How many may wait for a request.
    pub(super) idle_most: usize,
    /// For how long.
    pub(super) idle_for: Duration,
    /// See [`super::ApiSettings::alive_within`].
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
    idle: Vec<(Instant, Single<Stream>)>,
    /// Since when each was last taken.
    shared: Vec<(Instant, Shared)>,
    /// The API has been seen to speak HTTP/1.1.
    is_single: bool,
    /// Somebody looks after the unused ones.
    is_looked_after: bool,
}

impl Pool {
    /// Without connections yet; `origin` is the scheme, host and port of all requests.
    pub(super) fn new(connector: Connector, origin: Uri, bounds: Bounds) -> Self {
        Self { connector, origin, bounds, state: Arc::default(), connecting: Arc::default() }
    }

    /// Sends a request, once: only one that certainly was not taken is sent again, by another link. The link of an answer
    /// may be [kept](Self::keep).
    pub(super) async fn send(&self, post: &Post<'_>) -> Result<(Response<Rest>, Link), Unanswered> {
        let until = Instant::now() + self.bounds.patience;
        loop {
            let (mut link, is_new) = match self.take().await {
                Some(link) => (link, false),
                None => self.connect_until(until).await.map_err(Unanswered::NotSent)?,
            };
            match link.send(post).await {
                Ok(response) => return Ok((response, link)),
                Err(Unanswered::NotSent(_)) if !is_new => self.state().forget(&link),
                Err(unanswered) => return Err(unanswered),
            }
        }
    }

    /// Keeps the link for another request, if it can serve one after an answer of which this is left.
    pub(super) fn keep(&self, link: Link, rest: &Rest) {
        let (Link::Single(single), Rest::Single(rest)) = (link, rest) else { return };
        let (now, mut state) = (Instant::now(), self.state());
        if single.may_serve_again(rest) && state.idle.len() < self.bounds.idle_most {
            state.idle.push((now, single));
            self.look_after(&mut state);
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
            if single.is_silent().await {
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
        // Boxed, as is what only HTTP/2 needs: hundreds may connect at once.
        let connection = Box::new(self.connector.clone().call(self.origin.clone()).await?);
        let is_shared = connection.connected().is_negotiated_h2();
        self.state().is_single = !is_shared;
        let link = match is_shared {
            true => Link::Shared(Box::pin(self.share(*connection)).await?),
            false => Link::Single(Single::new(stream(*connection))),
        };
        Ok((link, true))
    }

    /// Makes a connection of HTTP/2 one that all may use.
    async fn share(&self, connection: Connection) -> Result<Shared, BoxError> {
        let alive_within = self.bounds.alive_within;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(alive_within).keep_alive_timeout(alive_within);
        let (sender, connection) = builder.handshake(connection).await?;
        // Its errors are its requests' errors, too.
        tokio::spawn(async move { drop(connection.await) });
        let (shared, mut state) = (Shared::new(sender), self.state());
        state.shared.push((Instant::now(), shared.clone()));
        self.look_after(&mut state);
        Ok(shared)
    }

    /// As long as there are any.
    fn look_after(&self, state: &mut State) {
        if !std::mem::replace(&mut state.is_looked_after, true) {
            tokio::spawn(look_after(Arc::downgrade(&self.state), self.bounds.idle_for));
        }
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
            self.shared.retain(|(_, shared)| !shared.is(closed));
        }
    }

    fn clear(&mut self, now: Instant, idle_for: Duration) {
        let is_old = |since: Instant| now.duration_since(since) >= idle_for;
        let old = self.idle.iter().take_while(|(since, _)| is_old(*since)).count();
        self.idle.drain(..old);
        self.shared.retain(|(since, shared)| {
            let is_unused = shared.under_way() == 0 && is_old(*since);
            !is_unused && !shared.is_closed()
        });
    }
}

/// Closes what was unused for too long, though no request comes that would, until nothing is left.
async fn look_after(state: Weak<Mutex<State>>, idle_for: Duration) {
    loop {
        sleep(idle_for.max(LOOK_LEAST)).await;
        let Some(state) = state.upgrade() else { return };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clear(Instant::now(), idle_for);
        state.is_looked_after = !state.idle.is_empty() || !state.shared.is_empty();
        if !state.is_looked_after {
            return;
        }
    }
}
