//! The API as the pipeline's [`Sender`]: one POST an attempt, with the credential that is valid now.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    address,
    credential::{Credential, Credentials},
    endpoint::Endpoint,
    error::{BuildError, OnRefresh, RefreshError},
    http::HttpClient,
    settings::ApiSettings,
};
use crate::{domain::evidence::Evidence, ports::Sender};

/// The API. Clones share connections and the credential; `Debug` shows neither.
#[derive(Clone)]
pub struct ApiClient {
    shared: Arc<ApiClientShared>,
}

struct ApiClientShared {
    http: HttpClient,
    endpoint: Endpoint,
    credential: Credential,
    unauthorized_statuses: Vec<u16>,
}

impl ApiClient {
    /// Builds a client that logs the renewals of its credential.
    ///
    /// # Errors
    /// Every [`BuildError`]. Nothing is sent yet: only addresses, certificates and tokens are read.
    pub fn new(settings: &ApiSettings, credentials: Credentials) -> Result<Self, BuildError> {
        Self::with_refresh(settings, credentials, Arc::new(log_refresh))
    }

    /// Builds a client that calls `on_refresh` for each renewal of its credential, successful or not.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_refresh(
        settings: &ApiSettings,
        credentials: Credentials,
        on_refresh: OnRefresh,
    ) -> Result<Self, BuildError> {
        let endpoint = Endpoint::new(address::join(&settings.base_url, "api.path", &settings.path)?);
        let http = HttpClient::new(settings)?;
        let credential = Credential::new(credentials, settings, &http, on_refresh)?;
        let unauthorized_statuses = settings.unauthorized_statuses.clone();
        Ok(Self { shared: Arc::new(ApiClientShared { http, endpoint, credential, unauthorized_statuses }) })
    }
}

impl Sender for ApiClient {
    /// The duration is the POST's own, without a login before it; zero when nothing was posted.
    async fn send(&self, body: &Bytes) -> (Evidence, Duration) {
        let shared = &self.shared;
        let token = match shared.credential.token().await {
            Ok(token) => token,
            Err(no_token) => return (Evidence::NoToken(no_token), Duration::ZERO),
        };
        let started = Instant::now();
        let evidence = shared.http.post(&shared.endpoint, token.header(), body).await;
        let took = started.elapsed();
        if evidence.status().is_some_and(|status| shared.unauthorized_statuses.contains(&status)) {
            shared.credential.reject(&token).await;
        }
        (evidence, took)
    }

    /// Resolves when the token file or the password file differs from what was last used when this was called; polls it
    /// once a second. The next attempt uses the new content: a password as soon as a login is allowed again, at most 10 s
    /// after the last one. Never resolves for a credential without a file. Cancel-safe, but it must be polled while it
    /// exists: attempts share its locks.
    async fn credential_changed(&self) {
        self.shared.credential.changed().await;
    }
}

impl fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiClient").field("credential", &self.shared.credential).finish_non_exhaustive()
    }
}

fn log_refresh(result: Result<(), &RefreshError>) {
    match result {
        Ok(()) => info!("API credential renewed"),
        Err(problem) => warn!(%problem, "API credential not renewed: {problem}"),
    }
}
