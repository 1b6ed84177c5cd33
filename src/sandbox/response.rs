//! HTTP responses.

use axum::{
    body::{Body, Bytes},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;

use super::wire;

/// The content type of every JSON response.
pub(super) const JSON: (HeaderName, HeaderValue) = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));

/// A response whose body is already JSON.
pub(super) fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    (status, [JSON], body.into()).into_response()
}

/// An error response.
pub(super) fn problem(status: StatusCode, message: &str) -> Response {
    json(status, wire::problem(status, message).to_string())
}

/// A scripted status with its own body, else with the documented success body or an error body.
pub(super) fn status(
    status: StatusCode,
    retry_after: Option<HeaderValue>,
    body: Option<Value>,
    documented: Bytes,
) -> Response {
    let mut response = match body {
        Some(Value::String(text)) => (status, text).into_response(),
        Some(body) => json(status, body.to_string()),
        None if status.is_success() => json(status, documented),
        None => problem(status, "scripted failure"),
    };
    if let Some(retry_after) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, retry_after);
    }
    response
}
