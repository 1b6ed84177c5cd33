//! Keeps one session of a role alive: builds it, serves it, drops it at the first doubt, builds the next.

use std::{future::Future, sync::Arc, time::Duration};

use lapin::Connection;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    connect::{self, Broker},
    error::SessionError,
};
use crate::{
    domain::retry,
    ports::Random,
    telemetry::{
        Role, Telemetry,
        events::{ConnectFailed, ConnectionLost, TopologyMissing},
    },
};

/// A session that lived for so long was sound: what ended it is a new trouble, and the waits begin anew.
const HEALTHY: Duration = Duration::from_secs(30);

/// What a supervised role needs.
pub(super) struct Supervisor<R> {
    pub(super) broker: Arc<Broker>,
    pub(super) role: Role,
    pub(super) telemetry: Telemetry,
    pub(super) random: R,
    /// Ends the supervision; the session in service is expected to heed it too.
    pub(super) stop: CancellationToken,
}

/// What a session does with its connection.
pub(super) trait Serve: Send {
    /// Serves until the session ends; `Ok` only when it was told to stop.
    fn serve(&mut self, connection: &Connection) -> impl Future<Output = Result<(), SessionError>> + Send;

    /// Whether nothing is left that only a session could do.
    fn is_flushed(&mut self) -> bool;
}

impl<R: Random> Supervisor<R> {
    /// Serves sessions until `stop`. Tells whether the last one ended in good order, with nothing left to flush.
    pub(super) async fn run(&self, mut serve: impl Serve) -> bool {
        let mut failures = 0;
        while !self.stop.is_cancelled() {
            let began = Instant::now();
            let (connected, result) = self.session(&mut serve).await;
            let Err(problem) = result else { return true };
            failures = if began.elapsed() > HEALTHY { 1 } else { failures + 1 };
            let wait = retry::backoff(failures, self.random.random_unit());
            self.tell(connected, &problem, wait);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => break,
            }
        }
        // Without a session there is nothing that could be flushed.
        serve.is_flushed()
    }

    fn tell(&self, connected: bool, problem: &SessionError, retry_in: Duration) {
        let (role, text) = (self.role, problem.to_string());
        match problem {
            SessionError::Missing(_) | SessionError::WrongType(_) => {
                self.telemetry.record(TopologyMissing { problem: &text })
            }
            _ if connected => self.telemetry.record(ConnectionLost { role, problem: &text }),
            _ => self.telemetry.record(ConnectFailed { role, problem: &text, retry_in }),
        }
    }

    /// One session, and whether it came as far as being connected.
    async fn session(&self, serve: &mut impl Serve) -> (bool, Result<(), SessionError>) {
        let name = format!("edna-courier {}", self.role.as_str());
        let connecting = tokio::select! {
            connecting = self.broker.connect(&name) => connecting,
            () = self.stop.cancelled() => return (false, Ok(())),
        };
        let connection = match connecting {
            Ok(connection) => connection,
            Err(problem) => return (false, Err(problem)),
        };
        let result = serve.serve(&connection).await;
        connect::close(connection).await;
        (true, result)
    }
}
