//! Fetches a token by login and password.

use std::future::pending;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::time::sleep;

use super::{password::Password, single_flight::SingleFlight, watched_file::POLL_INTERVAL};
use crate::{
    domain::evidence::{Answer, Evidence, NoToken},
    edna::{
        endpoint::Endpoint,
        error::{OnRefresh, RefreshError},
        http::{HttpClient, LoginResponse},
        token::Token,
    },
};

/// A user of the API and its current token.
pub(in crate::edna) struct Login {
    http: HttpClient,
    endpoint: Endpoint,
    login: String,
    password: Password,
    flight: SingleFlight,
    on_refresh: OnRefresh,
}

/// The fields of a login's response body that are used.
#[derive(Deserialize)]
struct LoginBody {
    token: String,
}

impl Login {
    pub(super) fn new(
        http: HttpClient,
        endpoint: Endpoint,
        login: String,
        password: Password,
        on_refresh: OnRefresh,
    ) -> Self {
        Self { http, endpoint, login, password, flight: SingleFlight::default(), on_refresh }
    }

    pub(super) async fn token(&self) -> Result<Token, NoToken> {
        self.flight.token(async || self.log_in().await).await
    }

    pub(super) async fn reject(&self, token: &Token) {
        self.flight.reject(token).await;
    }

    /// Resolves when the password file differs from the password of the last login when this was called and a login is
    /// allowed: before that the new password could not be tried. Never resolves without a file.
    pub(super) async fn changed(&self) {
        if self.password.is_fixed() {
            return pending().await;
        }
        let used = self.password.used();
        while !self.password.differs_from(&used).await {
            sleep(POLL_INTERVAL).await;
        }
        self.flight.login_allowed().await;
    }

    async fn log_in(&self) -> Result<Token, NoToken> {
        let (password, error) = self.password.refresh().await;
        if let Some(error) = error {
            (self.on_refresh)(Err(&error));
        }
        let body = serde_json::json!({ "login": self.login, "password": password.expose_secret() }).to_string();
        let LoginResponse { evidence, authorization } = self.http.log_in(&self.endpoint, &body.into()).await;
        let retry_after = evidence.retry_after();
        let result = token_of(evidence, authorization.as_ref());
        (self.on_refresh)(result.as_ref().map(|_| ()));
        result.map_err(|error| NoToken { problem: error.to_string().into(), retry_after })
    }
}

/// Reads the token from the evidence of a login.
fn token_of(evidence: Evidence, header: Option<&HeaderValue>) -> Result<Token, RefreshError> {
    match evidence {
        Evidence::Answer(Answer { status: 200..=299, body, .. }) => {
            token_in(body, header).ok_or(RefreshError::LoginWithoutToken)
        }
        Evidence::Answer(Answer { status: status @ (408 | 425 | 429 | 500..), .. }) => {
            Err(RefreshError::LoginPutOff { status })
        }
        Evidence::Answer(Answer { status, .. }) => Err(RefreshError::LoginRefused { status }),
        Evidence::NotSent(why) => Err(RefreshError::LoginNotSent(why)),
        Evidence::NoToken(_) | Evidence::NoAnswer(_) => Err(RefreshError::LoginNoAnswer),
    }
}

/// The body's `token`, with or without its prefix, also after a byte order mark; else the response header `Authorization`,
/// which the API documents, too.
fn token_in(body: Option<Vec<u8>>, header: Option<&HeaderValue>) -> Option<Token> {
    let in_body = || {
        let body = body?;
        let json = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&body);
        serde_json::from_slice(json).ok().map(|LoginBody { token }| token)
    };
    let in_header = || Some(header?.to_str().ok()?.to_owned());
    let usable = |token: String| Token::parse(&SecretString::from(token)).ok();
    in_body().and_then(usable).or_else(|| in_header().and_then(usable))
}
