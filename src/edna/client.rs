//! Makes an attempt: one POST with the credential that is valid now.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    address,
    credential::{Credential, Credentials, OnRefresh},
    error::{BuildError, RefreshError},
    http::Http,
    post::Endpoint,
    settings::ApiSettings,
};
use crate::{domain::evidence::Evidence, ports::Sender};

/// The API. Clones share connections and the credential; `Debug` shows nothing of either.
#[derive(Clone)]
pub struct ApiClient {
    inner: Arc<Inner>,
}

struct Inner {
    http: Http,
    endpoint: Endpoint,
    credential: Credential,
    unauthorized_statuses: Vec<u16>,
}

impl ApiClient {
    /// Renewals of the credential are logged.
    ///
    /// # Errors
    /// Every [`BuildError`]: nothing is sent yet, only addresses, certificates and tokens are read.
    pub fn new(settings: &ApiSettings, credentials: Credentials) -> Result<Self, BuildError> {
        Self::with_refresh(settings, credentials, Arc::new(log_refresh))
    }

    /// Renewals of the credential are told to `on_refresh`, which logs and counts them.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_refresh(
        settings: &ApiSettings,
        credentials: Credentials,
        on_refresh: OnRefresh,
    ) -> Result<Self, BuildError> {
        let url = address::join(&settings.base_url, "api.path", &settings.path)?;
        let endpoint = Endpoint::new(&url, "api.path")?;
        let http = Http::new(settings, &endpoint)?;
        let credential = Credential::new(credentials, settings, &http, on_refresh)?;
        let unauthorized_statuses = settings.unauthorized_statuses.clone();
        Ok(Self { inner: Arc::new(Inner { http, endpoint, credential, unauthorized_statuses }) })
    }
}

impl Sender for ApiClient {
    /// The time is the POST's own, without a login before it; zero when there was no POST.
    async fn send(&self, body: &Bytes) -> (Evidence, Duration) {
        let inner = &self.inner;
        let token = match inner.credential.token().await {
            Ok(token) => token,
            Err(evidence) => return (evidence, Duration::ZERO),
        };
        let started = Instant::now();
        let evidence = inner.http.post(&inner.endpoint, token.header(), body).await;
        let took = started.elapsed();
        if evidence.status().is_some_and(|status| inner.unauthorized_statuses.contains(&status)) {
            inner.credential.refused(&token).await;
        }
        (evidence, took)
    }

    /// Resolves when the token file or the password file holds something else than what was last used when this was
    /// called; looks about once a second. The next attempt uses it: for a password that is when a login is due again,
    /// at most 10 s after the last one. Never resolves for a credential without a file. May be dropped at any time; until
    /// then poll it, as attempts share its locks.
    async fn credential_changed(&self) {
        self.inner.credential.changed().await;
    }
}

impl fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiClient").field("credential", &self.inner.credential).finish_non_exhaustive()
    }
}

fn log_refresh(result: Result<(), &RefreshError>) {
    match result {
        Ok(()) => info!("the API credential was refreshed"),
        Err(problem) => warn!(%problem, "the API credential could not be refreshed: {problem}"),
    }
}
