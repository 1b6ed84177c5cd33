//! Events of the API client other than attempts.

use tracing::{info, warn};

use super::event::TelemetryEvent;
use crate::telemetry::state::TelemetryState;

/// A login or a read of a changed token file succeeded or failed.
#[derive(Clone, Copy, Debug)]
pub struct CredentialRefresh<'a> {
    /// The error says what failed and what to do, without a secret.
    pub result: Result<(), &'a str>,
}

impl TelemetryEvent for CredentialRefresh<'_> {
    fn count(&self, state: &TelemetryState) {
        state.metrics.api.count_credential_refresh(self.result.is_ok());
    }

    fn log(&self) {
        match self.result {
            Ok(()) => info!("API credential refreshed"),
            Err(problem) => warn!(problem, "refreshing the API credential failed: {problem}"),
        }
    }
}
