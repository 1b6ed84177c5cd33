//! The admin server: `/metrics`, `/livez`, `/readyz` and `/status`; `POST /pause` and `/resume`.
//!
//! The server runs on its own thread and runtime: a busy data plane cannot starve the probes, and a scrape cannot delay
//! a command. Connections and their duration are limited, and request bodies are never read.

mod deadline;
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

use self::{deadline::DeadlineStream, operator::OperatorControl, probes::ProbeReport, status::StatusBody};
use crate::{gate::Gate, listener::LimitedListener, telemetry::Telemetry};

/// Further connections wait in the system's backlog.
const MAX_CONNECTIONS: usize = 64;

/// Maximum time for open connections to end after the shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// An admin server that is bound and not yet serving.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl AdminServer {
    /// Binds the address of the setting `admin.listen`; port 0 is any free port.
    ///
    /// # Errors
    /// The system's error, with the address, the setting and the remedy in its message.
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

    /// The bound address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves on its own thread until `shutdown` resolves, and at most a second longer. `token` is required for
    /// `POST /pause` and `/resume`; `None` disables both.
    ///
    /// # Errors
    /// If the thread or its runtime cannot be created.
    pub fn serve(
        self,
        telemetry: Telemetry,
        gate: Gate,
        token: Option<SecretString>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<AdminTask> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (sender, result) = oneshot::channel();
        thread::Builder::new().name("admin".to_owned()).spawn(move || {
            // Fails if the `AdminTask` is dropped: the result is not needed then.
            drop(sender.send(runtime.block_on(run(self.listener, router(telemetry, gate, token), shutdown))));
        })?;
        Ok(AdminTask { result })
    }
}

/// A handle on the running server; dropping it does not stop the server.
#[derive(Debug)]
pub struct AdminTask {
    result: oneshot::Receiver<io::Result<()>>,
}

impl AdminTask {
    /// Waits until the server has stopped.
    ///
    /// # Errors
    /// If it stopped for another reason than its shutdown.
    pub async fn join(self) -> io::Result<()> {
        self.result.await.unwrap_or_else(|_| Err(io::Error::other("the thread of the admin server panicked")))
    }
}

async fn run(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let stop = CancellationToken::new();
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let listener = LimitedListener::new(listener, MAX_CONNECTIONS, DeadlineStream::new);
    let serve = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let stopped = async {
        shutdown.await;
        stop.cancel();
        tokio::time::sleep(SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        served = serve.into_future() => served,
        () = stopped => Ok(()),
    }
}

fn router(telemetry: Telemetry, gate: Gate, token: Option<SecretString>) -> Router {
    let operator_routes = Router::new()
        .route("/pause", post(operator::pause))
        .route("/resume", post(operator::resume))
        .with_state(Arc::new(OperatorControl::new(gate, token)));
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async |State(telemetry): State<Telemetry>| ProbeReport::live(&telemetry.snapshot())))
        .route("/readyz", get(async |State(telemetry): State<Telemetry>| ProbeReport::ready(&telemetry.snapshot())))
        .route("/status", get(async |State(telemetry): State<Telemetry>| Json(StatusBody::new(telemetry.snapshot()))))
        .with_state(telemetry)
        .merge(operator_routes)
        .fallback(not_found)
        .layer(map_response(close_connection))
}

async fn metrics(State(telemetry): State<Telemetry>) -> Response {
    const TEXT_FORMAT: (header::HeaderName, &str) = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    match telemetry.scrape() {
        Ok(metrics) => ([TEXT_FORMAT], metrics).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics cannot be encoded: {error}\n")).into_response()
        }
    }
}

async fn not_found() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "not found; try /metrics, /livez, /readyz, /status, POST /pause or POST /resume\n")
}

/// One request per connection, so that the connection's deadline also bounds each request and its response.
async fn close_connection(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
