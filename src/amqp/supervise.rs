//! Keeps one session of a role alive: builds it, runs it, drops it at the first error, backs off, builds the next.

use std::{future::Future, sync::Arc, time::Duration};

use lapin::Connection;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    connect::{BrokerAddresses, close},
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

/// After a session of this length the backoff starts anew.
const STABLE_AFTER: Duration = Duration::from_secs(30);

/// Supervises the sessions of one role.
pub(super) struct Supervisor<R> {
    pub(super) broker: Arc<BrokerAddresses>,
    pub(super) role: Role,
    pub(super) telemetry: Telemetry,
    pub(super) random: R,
    /// Ends the supervision; a running session must observe it, too.
    pub(super) stop: CancellationToken,
}

/// The use that a role makes of its connection; outlives the sessions.
pub(super) trait SessionTask: Send {
    /// Runs one session on a new connection; returns `Ok` only after a requested stop.
    fn run_session(&mut self, connection: &Connection) -> impl Future<Output = Result<(), SessionError>> + Send;

    /// Whether the last session ended in a way that asks for the next without backoff.
    fn reconnects_at_once(&self) -> bool {
        false
    }

    /// Whether no work is left that needs a session.
    fn is_flushed(&mut self) -> bool;
}

impl<R: Random> Supervisor<R> {
    /// Runs sessions until `stop`. Returns whether the last one ended regularly or left nothing to flush.
    pub(super) async fn run(&self, mut task: impl SessionTask) -> bool {
        let (mut failures, mut address) = (0, 0);
        while !self.stop.is_cancelled() {
            let started_at = Instant::now();
            let (was_connected, result) = self.session(address, &mut task).await;
            let Err(error) = result else { return true };
            // After any failed session: a node may accept connections and serve no request. Each role moves on by itself, or two
            // roles that fail together would always meet the same one of two addresses.
            address += 1;
            failures = if started_at.elapsed() > STABLE_AFTER { 1 } else { failures + 1 };
            let at_once = was_connected && task.reconnects_at_once();
            let retry_in = retry::backoff(failures, if at_once { 0.0 } else { self.random.random_unit() });
            self.record_failure(was_connected, &error, retry_in);
            tokio::select! {
                () = tokio::time::sleep(retry_in) => {}
                () = self.stop.cancelled() => break,
            }
        }
        task.is_flushed()
    }

    fn record_failure(&self, was_connected: bool, error: &SessionError, retry_in: Duration) {
        let (role, problem) = (self.role, &error.to_string());
        match error {
            SessionError::Missing(_) | SessionError::WrongType(_) => self.telemetry.record(TopologyMissing { problem }),
            _ if was_connected => self.telemetry.record(ConnectionLost { role, problem }),
            _ => self.telemetry.record(ConnectFailed { role, problem, retry_in }),
        }
    }

    /// Runs one session with the address of this index; the flag is whether it got a connection.
    async fn session(&self, address: usize, task: &mut impl SessionTask) -> (bool, Result<(), SessionError>) {
        let name = format!("edna-courier {}", self.role.as_str());
        let connected = tokio::select! {
            connected = self.broker.connect_abortable(address, &name) => connected,
            () = self.stop.cancelled() => return (false, Ok(())),
        };
        let (connection, socket) = match connected {
            Ok(connected) => connected,
            Err(error) => return (false, Err(error)),
        };
        let result = task.run_session(&connection).await;
        if let Err(SessionError::TooManyBytes { .. }) = &result {
            socket.abort();
        }
        close(connection).await;
        (true, result)
    }
}
