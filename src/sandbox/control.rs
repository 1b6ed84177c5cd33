//! The rest of the sandbox's paths: login, script, tokens and what was received.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    answer,
    outgoing::Desk,
    received::{Filter, Listing},
    script::Rule,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    login: String,
    password: String,
    #[serde(default, rename = "locale")]
    _locale: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    token: String,
}

/// Issues a token. As in the API's sample, the token of the body has the prefix already and the header has it twice.
pub(super) async fn login(State(desk): State<Arc<Desk>>, body: Bytes) -> Response {
    let Ok(given) = serde_json::from_slice::<Login>(&body) else {
        return answer::problem(StatusCode::BAD_REQUEST, "the body is not {\"login\": …, \"password\": …}");
    };
    if !fits(desk.options.login.as_ref(), &given) {
        return answer::problem(StatusCode::UNAUTHORIZED, "the login or the password is wrong");
    }
    let token = format!("Bearer {}", desk.tokens.issue());
    let header: (HeaderName, String) = (header::AUTHORIZATION, format!("Bearer {token}"));
    let body = json!({ "userId": 1, "login": null, "token": token, "role": "INTEGRATOR" });
    ([header], Json(body)).into_response()
}

fn fits(expected: Option<&(String, SecretString)>, given: &Login) -> bool {
    expected.is_none_or(|(login, password)| given.login == *login && given.password == password.expose_secret())
}

/// Queues rules, all or none.
pub(super) async fn add_rules(State(desk): State<Arc<Desk>>, body: Bytes) -> Response {
    let rules = match read::<Vec<Rule>>(&body) {
        Ok(rules) => rules,
        Err(mistake) => return answer::problem(StatusCode::BAD_REQUEST, &mistake),
    };
    match desk.script.add(rules) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(full) => answer::problem(StatusCode::CONFLICT, &full.to_string()),
    }
}

pub(super) async fn clear_rules(State(desk): State<Arc<Desk>>) -> StatusCode {
    desk.script.clear();
    StatusCode::NO_CONTENT
}

/// Accepts this token and no other.
pub(super) async fn set_token(State(desk): State<Arc<Desk>>, body: Bytes) -> Response {
    match serde_json::from_slice::<NewToken>(&body) {
        Ok(new) if !new.token.is_empty() => {
            desk.tokens.set(new.token.into());
            StatusCode::NO_CONTENT.into_response()
        }
        _ => answer::problem(StatusCode::BAD_REQUEST, "the body is not {\"token\": …}, without a prefix"),
    }
}

pub(super) async fn received(State(desk): State<Arc<Desk>>, Query(filter): Query<Filter>) -> Json<Listing> {
    Json(desk.received().list(&filter))
}

pub(super) async fn clear_received(State(desk): State<Arc<Desk>>) -> StatusCode {
    desk.received().clear();
    StatusCode::NO_CONTENT
}

/// Whatever the content type, so that `curl -d` will do. The error names the place.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| format!("at {}: {}", error.path(), error.inner()))?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(value)
}
