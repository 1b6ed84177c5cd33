//! Answers as HTTP.

use axum::{
    body::{Body, Bytes},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;

use super::wire;

/// The header of every JSON answer.
pub(super) const JSON: (HeaderName, HeaderValue) = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));

/// A body that is JSON already.
pub(super) fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    (status, [JSON], body.into()).into_response()
}

/// A refusal in the manner of the API.
pub(super) fn problem(status: StatusCode, message: &str) -> Response {
    json(status, wire::problem(status, message).to_string())
}

/// A scripted status: with its own body, else with the documented one of success or of failure.
pub(super) fn status(
    status: StatusCode,
    retry_after: Option<HeaderValue>,
    body: Option<Value>,
    sent: Bytes,
) -> Response {
    let mut response = match body {
        Some(Value::String(text)) => (status, text).into_response(),
        Some(body) => json(status, body.to_string()),
        None if status.is_success() => json(status, sent),
        None => problem(status, "as the script wants"),
    };
    if let Some(retry_after) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, retry_after);
    }
    response
}
