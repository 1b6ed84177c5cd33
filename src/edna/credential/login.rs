//! Fetches a token with login and password.

use std::{future::pending, time::Duration};

use hyper::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::time::sleep;

use super::{OnRefresh, password::Password, single_flight::SingleFlight, watched::LOOK_EVERY};
use crate::{
    domain::evidence::{Answer, Evidence, NotSent},
    edna::{error::RefreshError, http::Http, post::Endpoint, token::Token},
};

/// A user of the API and the token it has at present.
pub(in crate::edna) struct Login {
    http: Http,
    endpoint: Endpoint,
    login: String,
    password: Password,
    /// The status that stands for a credential that is not accepted.
    refused_status: u16,
    flight: SingleFlight,
    on_refresh: OnRefresh,
}

/// The login's answer, as on the wire; its other fields say nothing to us.
#[derive(Deserialize)]
struct LoginAnswer {
    token: String,
}

impl Login {
    pub(super) fn new(
        http: Http,
        endpoint: Endpoint,
        login: String,
        password: Password,
        refused_status: u16,
        on_refresh: OnRefresh,
    ) -> Self {
        Self { http, endpoint, login, password, refused_status, flight: SingleFlight::default(), on_refresh }
    }

    pub(super) async fn token(&self) -> Result<Token, Evidence> {
        self.flight.token(async || self.log_in().await, self.unauthorized()).await
    }

    pub(super) async fn refused(&self, token: &Token) {
        self.flight.refused(token).await;
    }

    /// Resolves when the password's file holds another one than the last login used when this was called, and a login is
    /// due: before that the new password could not be tried. Never without a file.
    pub(super) async fn changed(&self) {
        if self.password.is_fixed() {
            return pending().await;
        }
        let used = self.password.used();
        while !self.password.differs_from(&used).await {
            sleep(LOOK_EVERY).await;
        }
        self.flight.due().await;
    }

    async fn log_in(&self) -> Result<Token, Evidence> {
        let (password, problem) = self.password.take().await;
        if let Some(problem) = problem {
            (self.on_refresh)(Err(&problem));
        }
        let body = serde_json::json!({ "login": self.login, "password": password.expose_secret() }).to_string();
        let (evidence, header) = self.http.log_in(&self.endpoint, &body.into()).await;
        let result = self.judge(evidence, header.as_ref());
        (self.on_refresh)(result.as_ref().map(|_| ()).map_err(|(error, _)| error));
        result.map_err(|(_, proves)| proves)
    }

    /// What the login's evidence says about the *attempt* that waits for it. Its request certainly was not sent, so
    /// it is never uncertain; and a login that the API will never take says nothing about the command, so it is
    /// never rejected: it either waits for a person (unauthorized) or comes again (not sent, throttled).
    fn judge(&self, evidence: Evidence, header: Option<&HeaderValue>) -> Result<Token, (RefreshError, Evidence)> {
        let not_sent = Evidence::NotSent(NotSent::Connect);
        match evidence {
            Evidence::Answer(answer) => self.judge_answer(answer, header),
            Evidence::NotSent(why) => Err((RefreshError::LoginNotSent(why), Evidence::NotSent(why))),
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
        without_body(self.refused_status, None)
    }
}

/// The body's `token`, which is sometimes the token alone and sometimes has its prefix; else the header `Authorization`,
/// documented beside it.
fn token_in(body: Option<Vec<u8>>, header: Option<&HeaderValue>) -> Option<Token> {
    let in_body = || serde_json::from_slice(&body?).ok().map(|LoginAnswer { token }| token);
    let in_header = || Some(header?.to_str().ok()?.to_owned());
    let usable = |token: String| Token::parse(&SecretString::from(token)).ok();
    in_body().and_then(usable).or_else(|| in_header().and_then(usable))
}

const fn without_body(status: u16, retry_after: Option<Duration>) -> Evidence {
    Evidence::Answer(Answer { status, retry_after, body: None })
}
