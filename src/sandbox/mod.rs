//! The sandbox: a stand-in for edna Chat Center with scripted failures, for the demo, tests and benchmarks.
//!
//! | request | does |
//! |---|---|
//! | `POST /api/v1/messages/outgoing-to-device` | the send method (the path is a setting): the documented answer; 401, 415, 413, 400 |
//! | `POST /api/auth/login` | issues a token, accepted beside the ones before |
//! | `GET /received` | what arrived, a [`Listing`]; `?deviceAddress=` (the very address), `?text=` (a part), `?limit=` (the latest) |
//! | `DELETE /received` | forgets it, the counts and the attempts too |
//! | `POST /script` | queues a JSON list of rules, see [`Rule`] and [`Action`] |
//! | `DELETE /script` | forgets them |
//! | `POST /token` | `{"token": …}`: from now on this token and no other |
//! | `GET /healthz` | 200 |
//!
//! A request that the API itself would refuse is refused before any rule sees it. Without a rule for it, the text of a
//! message may say what happens to it: `[[status=500]]`, `[[status=503,retryAfter=2,times=2]]`, `[[delay=250ms]]`,
//! `[[hang]]`, `[[cut]]`, `[[cutBefore]]`, `[[unauthorized,times=1]]`, `[[wrongBody]]`, `[[slowBody=2s]]`. The words are
//! those of [`Action`]; `times=2` means the first two attempts at this text to this device, else it is every one; of
//! several markers the first that still works counts.
//!
//! Everything has a limit: connections, bytes of a body, rules, records and their bytes, tokens, delays.

mod action;
mod answer;
mod connection;
mod control;
mod marker;
mod options;
mod outgoing;
mod received;
mod script;
#[cfg(test)]
mod tests;
mod token;
mod wire;

use std::{future::IntoFuture, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};
use secrecy::SecretString;
use socket2::{Domain, Socket, Type};
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::sync::DropGuard;

pub use self::{
    action::{Action, Answer},
    options::{DEFAULT_PATH, Options},
    received::{Filter, Listing, Record},
    script::{MAX_RULES, Rule, ScriptFull},
};
use self::{
    connection::{Line, Lines},
    outgoing::Desk,
};

/// How long requests that wait for their answer may take once the sandbox stops.
const GRACE: Duration = Duration::from_secs(1);

/// Connections that wait to be taken; thousands may come at once, and those for which there is no room try again for seconds.
const BACKLOG: i32 = 4_096;

/// Bytes of a script, a login or a token.
const MAX_CONTROL_BODY: usize = 1 << 20;

const LOGIN: &str = "/api/auth/login";
const RECEIVED: &str = "/received";
const SCRIPT: &str = "/script";
const TOKEN: &str = "/token";
const HEALTHZ: &str = "/healthz";

/// The send method can't have any of these: it would never be reached.
const OWN_PATHS: [&str; 5] = [LOGIN, RECEIVED, SCRIPT, TOKEN, HEALTHZ];

/// A sandbox at work; it stops when this is dropped.
pub struct Sandbox {
    address: SocketAddr,
    desk: Arc<Desk>,
    serving: JoinHandle<io::Result<()>>,
    /// Of `stopping` and `over`.
    guards: [DropGuard; 2],
}

impl Sandbox {
    /// Listens, port 0 on any free one, and serves on the runtime that this is called on.
    ///
    /// # Errors
    /// When there is no runtime, the path does not begin with `/` or is one of the sandbox's own, or the address can't be had; with the remedy.
    pub fn start(listen: SocketAddr, options: Options) -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        if !options.path.starts_with('/') || OWN_PATHS.contains(&options.path.as_str()) {
            let remedy = "the path of the send method has to begin with a slash and be none of the sandbox's own";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, remedy));
        }
        let listener = bind(listen).map_err(|error| {
            let remedy = "choose an address of this machine and a free port";
            io::Error::new(error.kind(), format!("the sandbox cannot listen on {listen}: {error}; {remedy}"))
        })?;
        let address = listener.local_addr()?;
        let desk = Arc::new(Desk::new(options));
        let serving = runtime.spawn(serve(Lines::new(listener), Arc::clone(&desk)));
        let guards = [desk.stopping.clone().drop_guard(), desk.over.clone().drop_guard()];
        Ok(Self { address, desk, serving, guards })
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Queues rules behind those that wait, all or none.
    ///
    /// # Errors
    /// When too many wait.
    pub fn script(&self, rules: impl IntoIterator<Item = Rule>) -> Result<(), ScriptFull> {
        self.desk.script.add(rules.into_iter().collect())
    }

    /// Forgets the rules that wait.
    pub fn clear_script(&self) {
        self.desk.script.clear();
    }

    /// What arrived, as `GET /received` tells it.
    #[must_use]
    pub fn received(&self, filter: &Filter) -> Listing {
        self.desk.received().list(filter)
    }

    /// Forgets what arrived, the counts and the attempts too.
    pub fn clear_received(&self) {
        self.desk.received().clear();
    }

    /// Accepts this token, without a prefix, and no other.
    pub fn set_token(&self, token: SecretString) {
        self.desk.tokens.set(token);
    }

    /// Stops listening, lets requests under way end for a second, then cuts them; those that hang at once.
    ///
    /// # Errors
    /// When it ended before, and why.
    pub async fn stop(self) -> io::Result<()> {
        let Self { desk, mut serving, guards, .. } = self;
        desk.stopping.cancel();
        let ended = tokio::time::timeout(GRACE, &mut serving).await;
        serving.abort();
        drop(guards);
        ended.map_or(Ok(()), |ended| ended.map_err(io::Error::other)?)
    }
}

fn bind(listen: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(listen), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&listen.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(socket.into())
}

async fn serve(lines: Lines, desk: Arc<Desk>) -> io::Result<()> {
    let stopping = desk.stopping.clone();
    let service = router(desk).into_make_service_with_connect_info::<Line>();
    axum::serve(lines, service).with_graceful_shutdown(stopping.cancelled_owned()).into_future().await
}

fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route(LOGIN, post(control::login))
        .route(RECEIVED, get(control::received).delete(control::clear_received))
        .route(SCRIPT, post(control::add_rules).delete(control::clear_rules))
        .route(TOKEN, post(control::set_token))
        .route(HEALTHZ, get(async || "ok\n"))
        .fallback(outgoing::outgoing)
        .layer(DefaultBodyLimit::max(MAX_CONTROL_BODY))
        .with_state(desk)
}
