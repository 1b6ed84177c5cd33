//! The admin server: `/metrics`, `/livez`, `/readyz` and `/status`; `POST /pause` and `/resume`.
//!
//! It runs on a thread and a runtime of its own, so that a busy data plane can't starve the probes, nor a scrape delay
//! a command. All of it is bounded: connections, the time of each, and no body is ever read.

mod connection;
mod operator;
mod probes;
mod status;
#[cfg(test)]
mod tests;

use std::{
    future::{Future, IntoFuture},
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use secrecy::SecretString;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::{connection::Bounded, operator::Operator, probes::Probe, status::Status};
use crate::telemetry::Telemetry;

/// How long connections may take to end once the server stops.
const GRACE: Duration = Duration::from_secs(1);

/// The server, bound and not yet serving.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Takes the address of the setting `admin.listen`; port 0 takes any free one.
    ///
    /// # Errors
    /// Of the kind that the system gave, naming the address, the setting and the remedy.
    pub fn bind(listen: SocketAddr) -> io::Result<Self> {
        Self::try_bind(listen).map_err(|error| {
            let remedy = "set admin.listen to an address of this machine and a free port";
            io::Error::new(error.kind(), format!("the admin server cannot listen on {listen}: {error}; {remedy}"))
        })
    }

    fn try_bind(listen: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        Ok(Self { address: listener.local_addr()?, listener })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves on a thread of its own until `shutdown` resolves, and at most a second longer. Who has the `token` may pause
    /// and resume; without one nobody may.
    ///
    /// # Errors
    /// When the system gives no thread or no runtime for it.
    pub fn serve(
        self,
        telemetry: Telemetry,
        token: Option<SecretString>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Serving> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (ended, end) = oneshot::channel();
        thread::Builder::new().name("admin".to_owned()).spawn(move || {
            let result = runtime.block_on(run(self.listener, router(telemetry, token), shutdown));
            // Nobody may be waiting any more, and then nobody wants to know.
            drop(ended.send(result));
        })?;
        Ok(Serving { end })
    }
}

/// The server at work; dropping this does not stop it.
#[derive(Debug)]
pub struct Serving {
    end: oneshot::Receiver<io::Result<()>>,
}

impl Serving {
    /// Waits until the server has ended.
    ///
    /// # Errors
    /// When it ended for another reason than its shutdown.
    pub async fn ended(self) -> io::Result<()> {
        self.end.await.unwrap_or_else(|_| Err(io::Error::other("the thread of the admin server panicked")))
    }
}

async fn run(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let stop = CancellationToken::new();
    let listener = Bounded::new(tokio::net::TcpListener::from_std(listener)?);
    let serve = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let stopped = async {
        shutdown.await;
        stop.cancel();
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = serve.into_future() => served,
        () = stopped => Ok(()),
    }
}

fn router(telemetry: Telemetry, token: Option<SecretString>) -> Router {
    let operator = Arc::new(Operator::new(telemetry.clone(), token));
    let by_hand = Router::new()
        .route("/pause", post(operator::pause))
        .route("/resume", post(operator::resume))
        .with_state(operator);
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async |State(telemetry): State<Telemetry>| Probe::live(&telemetry.snapshot())))
        .route("/readyz", get(async |State(telemetry): State<Telemetry>| Probe::ready(&telemetry.snapshot())))
        .route("/status", get(async |State(telemetry): State<Telemetry>| Json(Status::of(telemetry.snapshot()))))
        .with_state(telemetry)
        .merge(by_hand)
        .fallback(not_found)
        .layer(map_response(last_of_its_connection))
}

async fn metrics(State(telemetry): State<Telemetry>) -> Response {
    const TEXT_FORMAT: (header::HeaderName, &str) = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    match telemetry.scrape() {
        Ok(families) => ([TEXT_FORMAT], families).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics can't be rendered: {error}\n")).into_response()
        }
    }
}

async fn not_found() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "not found; there are /metrics, /livez, /readyz, /status, and POST /pause and /resume\n")
}

/// One request a connection: so the one deadline of a connection bounds a request, from its first byte to the last of
/// its answer.
async fn last_of_its_connection(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
