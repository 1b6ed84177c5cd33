//! What happens between us and the API, besides attempts.

use tracing::{info, warn};

use super::Event;
use crate::telemetry::Telemetry;

/// The credential was renewed, by a login or a changed token file, or could not be.
#[derive(Clone, Copy, Debug)]
pub struct CredentialRefresh<'a> {
    /// Why it failed and what to do, without a secret in it.
    pub result: Result<(), &'a str>,
}

impl Event for CredentialRefresh<'_> {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.inner.metrics.api.credential_refreshed(self.result.is_ok());
    }

    fn log(&self) {
        match self.result {
            Ok(()) => info!("the API credential was refreshed"),
            Err(problem) => warn!(problem, "the API credential could not be refreshed: {problem}"),
        }
    }
}
