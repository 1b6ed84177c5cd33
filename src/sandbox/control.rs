//! The control paths: login, script, token and received requests.

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
    received::{Listing, ReceivedFilter},
    response,
    script::Rule,
    state::SandboxState,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginRequest {
    login: String,
    password: String,
    #[serde(default, rename = "locale")]
    _locale: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    token: String,
}

/// Issues a token. As in the API's sample, the token in the body already has the prefix, and the header has it twice.
pub(super) async fn login(State(state): State<Arc<SandboxState>>, body: Bytes) -> Response {
    let Ok(request) = serde_json::from_slice::<LoginRequest>(&body) else {
        return response::problem(StatusCode::BAD_REQUEST, "the body is not {\"login\": …, \"password\": …}");
    };
    if !is_correct(state.options.login.as_ref(), &request) {
        return response::problem(StatusCode::UNAUTHORIZED, "the login or the password is wrong");
    }
    let token = format!("Bearer {}", state.tokens.issue());
    let header: (HeaderName, String) = (header::AUTHORIZATION, format!("Bearer {token}"));
    let body = json!({ "userId": 1, "login": null, "token": token, "role": "INTEGRATOR" });
    ([header], Json(body)).into_response()
}

fn is_correct(expected: Option<&(String, SecretString)>, request: &LoginRequest) -> bool {
    expected.is_none_or(|(login, password)| request.login == *login && request.password == password.expose_secret())
}

/// Queues all rules or none.
pub(super) async fn add_rules(State(state): State<Arc<SandboxState>>, body: Bytes) -> Response {
    let rules = match parse::<Vec<Rule>>(&body) {
        Ok(rules) => rules,
        Err(error) => return response::problem(StatusCode::BAD_REQUEST, &error),
    };
    match state.script.add(rules) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(full) => response::problem(StatusCode::CONFLICT, &full.to_string()),
    }
}

pub(super) async fn clear_rules(State(state): State<Arc<SandboxState>>) -> StatusCode {
    state.script.clear();
    StatusCode::NO_CONTENT
}

/// Accepts only this token.
pub(super) async fn set_token(State(state): State<Arc<SandboxState>>, body: Bytes) -> Response {
    match serde_json::from_slice::<TokenRequest>(&body) {
        Ok(request) if !request.token.is_empty() => {
            state.tokens.set(request.token.into());
            StatusCode::NO_CONTENT.into_response()
        }
        _ => response::problem(StatusCode::BAD_REQUEST, "the body is not {\"token\": …}, without a prefix"),
    }
}

pub(super) async fn received(
    State(state): State<Arc<SandboxState>>,
    Query(filter): Query<ReceivedFilter>,
) -> Json<Listing> {
    Json(state.received().list(&filter))
}

pub(super) async fn clear_received(State(state): State<Arc<SandboxState>>) -> StatusCode {
    state.received().clear();
    StatusCode::NO_CONTENT
}

/// Parses JSON whatever the content type, so that `curl -d` works. The error names the path.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| format!("at {}: {}", error.path(), error.inner()))?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(value)
}
