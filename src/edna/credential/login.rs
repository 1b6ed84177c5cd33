//! Fetches a token by login and password.

use std::{future::pending, time::Duration};

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::time::sleep;

use super::{password::Password, single_flight::SingleFlight, watched_file::POLL_INTERVAL};
use crate::{
    domain::evidence::{Answer, Evidence, NotSent},
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
    /// The status of a credential that is not accepted.
    unauthorized_status: u16,
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
        unauthorized_status: u16,
        on_refresh: OnRefresh,
    ) -> Self {
        Self { http, endpoint, login, password, unauthorized_status, flight: SingleFlight::default(), on_refresh }
    }

    pub(super) async fn token(&self) -> Result<Token, Evidence> {
        self.flight.token(async || self.log_in().await, self.unauthorized()).await
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

    async fn log_in(&self) -> Result<Token, Evidence> {
        let (password, error) = self.password.refresh().await;
        if let Some(error) = error {
            (self.on_refresh)(Err(&error));
        }
        let body = serde_json::json!({ "login": self.login, "password": password.expose_secret() }).to_string();
        let LoginResponse { evidence, authorization } = self.http.log_in(&self.endpoint, &body.into()).await;
        let result = self.judge(evidence, authorization.as_ref());
        (self.on_refresh)(result.as_ref().map(|_| ()).map_err(|(error, _)| error));
        result.map_err(|(_, evidence)| evidence)
    }

    /// Turns the evidence of a login into that of the attempt that waits for it. The attempt's own request was not sent,
    /// so it is never uncertain; and a refused login proves nothing about the command, so it is never rejected: the attempt
    /// is unauthorized, throttled or not sent.
    fn judge(&self, evidence: Evidence, header: Option<&HeaderValue>) -> Result<Token, (RefreshError, Evidence)> {
        let not_sent = Evidence::NotSent(NotSent::Connect);
        match evidence {
            Evidence::Answer(answer) => self.judge_answer(answer, header),
            Evidence::NotSent(why) => Err((RefreshError::LoginNotSent(why.clone()), Evidence::NotSent(why))),
            Evidence::NoAnswer(_) => Err((RefreshError::LoginNoAnswer, not_sent)),
        }
    }

    fn judge_answer(&self, answer: Answer, header: Option<&HeaderValue>) -> Result<Token, (RefreshError, Evidence)> {
        let Answer { status, retry_after, body } = answer;
        match status {
            200..=299 => token_in(body, header).ok_or((RefreshError::LoginWithoutToken, self.unauthorized())),
            429 => Err((RefreshError::LoginPutOff { status }, without_body(status, retry_after))),
            503 if retry_after.is_some() => {
                Err((RefreshError::LoginPutOff { status }, without_body(status, retry_after)))
            }
            408 | 425 | 500.. => Err((RefreshError::LoginPutOff { status }, Evidence::NotSent(NotSent::Connect))),
            _ => Err((RefreshError::LoginRefused { status }, self.unauthorized())),
        }
    }

    fn unauthorized(&self) -> Evidence {
        without_body(self.unauthorized_status, None)
    }
}

/// The body's `token`, with or without its prefix; else the response header `Authorization`, which the API documents, too.
fn token_in(body: Option<Vec<u8>>, header: Option<&HeaderValue>) -> Option<Token> {
    let in_body = || serde_json::from_slice(&body?).ok().map(|LoginBody { token }| token);
    let in_header = || Some(header?.to_str().ok()?.to_owned());
    let usable = |token: String| Token::parse(&SecretString::from(token)).ok();
    in_body().and_then(usable).or_else(|| in_header().and_then(usable))
}

const fn without_body(status: u16, retry_after: Option<Duration>) -> Evidence {
    Evidence::Answer(Answer { status, retry_after, body: None })
}
