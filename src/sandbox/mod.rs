//! The sandbox: a stand-in for edna Chat Center with scripted failures, for the demo, tests and benchmarks.
//!
//! | request | does |
//! |---|---|
//! | `POST /api/v1/messages/outgoing-to-device` | the send method (the path is a setting): the documented response, or 401, 415, 413, 400 |
//! | `POST /api/auth/login` | issues a token in addition to the accepted ones |
//! | `GET /received` | the received requests, a [`Listing`]; `?deviceAddress=` (exact), `?text=` (a part), `?limit=` (the latest) |
//! | `DELETE /received` | removes them with all counts |
//! | `POST /script` | queues a JSON list of rules, see [`Rule`] and [`Action`] |
//! | `DELETE /script` | removes the queued rules |
//! | `POST /token` | `{"token": …}`: accepts only this token |
//! | `GET /healthz` | 200 |
//!
//! A request that the API itself would refuse is refused before the rules. If no rule matches, a marker in the text of
//! the message sets the action: `[[status=500]]`, `[[status=503,retryAfter=2,times=2]]`, `[[delay=250ms]]`, `[[hang]]`,
//! `[[cut]]`, `[[cutBefore]]`, `[[unauthorized,times=1]]`, `[[wrongBody]]`, `[[slowBody=2s]]`. The fields are those of
//! [`Action`]; `times=2` applies to the first two attempts at this text to this device, without it to every attempt. Of
//! several markers the first that still applies wins.
//!
//! Connections, body sizes, rules, kept requests, tokens and delays are limited.

mod action;
mod control;
mod cut;
mod marker;
mod options;
mod received;
mod response;
mod script;
mod send;
mod state;
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
    action::{Action, ScriptedResponse},
    options::{DEFAULT_PATH, Options},
    received::{Listing, ReceivedFilter, ReceivedRequest},
    script::{MAX_RULES, Rule, ScriptFull},
};
use self::{
    cut::{CutHandle, CuttableStream},
    state::SandboxState,
};
use crate::listener::LimitedListener;

/// Maximum time for open requests to end after the stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// More than the widest daemon opens. Further connections wait in the backlog; a hanging request keeps its connection.
const MAX_CONNECTIONS: usize = 12_288;

/// Thousands of connections may come at once; with a full backlog their SYN is retried only after seconds.
const BACKLOG: i32 = 4_096;

/// Maximum body size of a script, a login or a token, in bytes.
const MAX_CONTROL_BODY: usize = 1 << 20;

const LOGIN: &str = "/api/auth/login";
const RECEIVED: &str = "/received";
const SCRIPT: &str = "/script";
const TOKEN: &str = "/token";
const HEALTHZ: &str = "/healthz";

/// Paths that the send method cannot have: their own routes win.
const CONTROL_PATHS: [&str; 5] = [LOGIN, RECEIVED, SCRIPT, TOKEN, HEALTHZ];

/// A running sandbox; it stops when dropped.
pub struct Sandbox {
    address: SocketAddr,
    state: Arc<SandboxState>,
    server: JoinHandle<io::Result<()>>,
    /// Cancel `stopping` and `stopped`.
    guards: [DropGuard; 2],
}

impl Sandbox {
    /// Binds `listen` (port 0: any free port) and serves on the current runtime.
    ///
    /// # Errors
    /// If there is no runtime, the path does not begin with `/` or is one of the control paths, or the address cannot
    /// be bound; with the remedy.
    pub fn start(listen: SocketAddr, options: Options) -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        if !options.path.starts_with('/') || CONTROL_PATHS.contains(&options.path.as_str()) {
            let remedy =
                "the path of the send method must begin with a slash and must not be a control path of the sandbox";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, remedy));
        }
        let listener = bind(listen).map_err(|error| {
            let remedy = "choose an address of this machine and a free port";
            io::Error::new(error.kind(), format!("the sandbox cannot listen on {listen}: {error}; {remedy}"))
        })?;
        let address = listener.local_addr()?;
        let state = Arc::new(SandboxState::new(options));
        let listener = LimitedListener::new(listener, MAX_CONNECTIONS, CuttableStream::new);
        let server = runtime.spawn(serve(listener, Arc::clone(&state)));
        let guards = [state.stopping.clone().drop_guard(), state.stopped.clone().drop_guard()];
        Ok(Self { address, state, server, guards })
    }

    /// The bound address.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Queues all rules or none, behind the queued ones.
    ///
    /// # Errors
    /// If more than [`MAX_RULES`] would be queued.
    pub fn script(&self, rules: impl IntoIterator<Item = Rule>) -> Result<(), ScriptFull> {
        self.state.script.add(rules.into_iter().collect())
    }

    /// Removes the queued rules.
    pub fn clear_script(&self) {
        self.state.script.clear();
    }

    /// The received requests, as `GET /received` lists them.
    #[must_use]
    pub fn received(&self, filter: &ReceivedFilter) -> Listing {
        self.state.received().list(filter)
    }

    /// Removes the received requests with all counts.
    pub fn clear_received(&self) {
        self.state.received().clear();
    }

    /// Accepts only this token, given without a prefix.
    pub fn set_token(&self, token: SecretString) {
        self.state.tokens.set(token);
    }

    /// Stops listening, gives open requests a second to end, then cuts them; hanging ones are cut at once.
    ///
    /// # Errors
    /// The error that stopped the server before.
    pub async fn stop(self) -> io::Result<()> {
        let Self { state, mut server, guards, .. } = self;
        state.stopping.cancel();
        let ended = tokio::time::timeout(SHUTDOWN_GRACE, &mut server).await;
        server.abort();
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

async fn serve(listener: LimitedListener<CuttableStream>, state: Arc<SandboxState>) -> io::Result<()> {
    let stopping = state.stopping.clone();
    let service = router(state).into_make_service_with_connect_info::<CutHandle>();
    axum::serve(listener, service).with_graceful_shutdown(stopping.cancelled_owned()).into_future().await
}

fn router(state: Arc<SandboxState>) -> Router {
    Router::new()
        .route(LOGIN, post(control::login))
        .route(RECEIVED, get(control::received).delete(control::clear_received))
        .route(SCRIPT, post(control::add_rules).delete(control::clear_rules))
        .route(TOKEN, post(control::set_token))
        .route(HEALTHZ, get(async || "ok\n"))
        .fallback(send::send)
        .layer(DefaultBodyLimit::max(MAX_CONTROL_BODY))
        .with_state(state)
}
