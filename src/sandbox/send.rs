//! The send method: checks a request, decides on an action, records the request, then responds.

use std::{io, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;

use super::{
    action::{Action, ScriptedResponse},
    cut::CutHandle,
    marker,
    options::Options,
    received::ReceivedRequest,
    response,
    script::RuleInput,
    state::SandboxState,
    wire::{self, OutgoingMessage},
};

/// Maximum size of a request body, in bytes; more than the request of the largest command.
const MAX_BODY: usize = 512 << 10;

/// The action for a request.
struct Decision {
    action: Action,
    /// The documented success body; empty if the message is not accepted.
    documented: Bytes,
}

/// Handles every path without a route of its own: the send method's path is a setting.
pub(super) async fn send(
    State(state): State<Arc<SandboxState>>,
    ConnectInfo(connection): ConnectInfo<CutHandle>,
    request: Request,
) -> Response {
    if request.uri().path() != state.options.path {
        return response::problem(StatusCode::NOT_FOUND, "no such path");
    }
    if request.method() != Method::POST {
        return response::problem(StatusCode::METHOD_NOT_ALLOWED, "the method must be POST");
    }
    let (head, body) = request.into_parts();
    let body = to_bytes(body, MAX_BODY).await.ok();
    let decision = decide(&state, &head.headers, body.as_deref());
    respond(state, decision, &connection).await
}

/// Decides on the action for a request and records the request. `body` is `None` if it is too large or incomplete.
fn decide(state: &SandboxState, headers: &HeaderMap, body: Option<&[u8]>) -> Decision {
    let parsed = body.map(OutgoingMessage::parse);
    let refusal = refusal(state, headers, parsed.as_ref());
    let message = parsed.and_then(Result::ok);

    let mut received = state.received();
    // A refused request is not an attempt: it must not use up a marker of the text.
    let valid = message.as_ref().filter(|_| refusal.is_none());
    let attempt = valid.map(|message| received.count_attempt(message.key()));
    let scripted = || valid.zip(attempt).and_then(|(message, attempt)| scripted(state, message, attempt));
    let action = refusal.or_else(scripted).unwrap_or_else(|| ScriptedResponse::Documented.into());
    if action.response == ScriptedResponse::Unauthorized {
        state.tokens.revoke();
    }
    let accepted = action.response.accepts();
    received.add(accepted, |sequence| received_request(sequence, message.as_ref(), attempt, &action.response));
    drop(received);

    let documented = message.filter(|_| accepted).map(|message| wire::sent(state.next_message_id(), &message));
    Decision { action, documented: documented.unwrap_or_default() }
}

/// The error of the API itself, if it would refuse the request.
fn refusal(
    state: &SandboxState,
    headers: &HeaderMap,
    parsed: Option<&Result<OutgoingMessage<'_>, String>>,
) -> Option<Action> {
    if !state.tokens.accepts(headers) {
        return Some(problem(StatusCode::UNAUTHORIZED, "the token is missing, unknown or has not exactly one prefix"));
    }
    if !is_json(headers) {
        return Some(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content type is not application/json"));
    }
    match parsed {
        None => Some(problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large or incomplete")),
        Some(Err(error)) => Some(problem(StatusCode::BAD_REQUEST, error)),
        Some(Ok(_)) => None,
    }
}

fn problem(status: StatusCode, message: &str) -> Action {
    ScriptedResponse::Status { status, retry_after: None, body: Some(wire::problem(status, message)) }.into()
}

/// The action of a rule, else of a marker in the text.
fn scripted(state: &SandboxState, message: &OutgoingMessage<'_>, attempt: u32) -> Option<Action> {
    let seed = message.key().wrapping_add(u64::from(attempt));
    let input = RuleInput { address: &message.descriptor.device_address, text: &message.text, seed };
    if let Some(action) = state.script.take_action(&input) {
        return Some(action);
    }
    marker::action(&message.text, attempt).unwrap_or_else(|marker::MalformedMarker| {
        Some(problem(StatusCode::BAD_REQUEST, "a [[marker]] of the sandbox in the text is malformed"))
    })
}

async fn respond(
    state: Arc<SandboxState>,
    Decision { action, documented }: Decision,
    connection: &CutHandle,
) -> Response {
    if !delay(&state, latency(&state.options).saturating_add(action.delay)).await {
        return cut(connection);
    }
    match action.response {
        ScriptedResponse::Documented => response::json(StatusCode::OK, documented),
        ScriptedResponse::Status { status, retry_after, body } => {
            response::status(status, retry_after, body, documented)
        }
        ScriptedResponse::Unauthorized => response::problem(StatusCode::UNAUTHORIZED, "the token has expired"),
        ScriptedResponse::WrongBody => response::json(StatusCode::OK, Bytes::from_static(b"<html>not JSON</html>")),
        ScriptedResponse::SlowBody(duration) => slow_body(state, documented, duration),
        ScriptedResponse::Cut | ScriptedResponse::CutBefore => cut(connection),
        ScriptedResponse::Hang => {
            state.stopping.cancelled().await;
            cut(connection)
        }
    }
}

fn latency(options: &Options) -> Duration {
    let Options { latency, jitter, .. } = *options;
    if jitter.is_zero() { latency } else { latency.saturating_add(jitter.mul_f64(fastrand::f64())) }
}

/// Returns false if the sandbox stopped first.
async fn delay(state: &SandboxState, duration: Duration) -> bool {
    if duration.is_zero() {
        return true;
    }
    tokio::select! {
        () = tokio::time::sleep(duration) => true,
        () = state.stopped.cancelled() => false,
    }
}

/// Sends the body byte by byte; cuts it if the sandbox stops first.
fn slow_body(state: Arc<SandboxState>, body: Bytes, duration: Duration) -> Response {
    let pause = duration.div_f64(body.len().max(1) as f64);
    let body = stream::unfold((state, body), move |(state, mut rest)| async move {
        if rest.is_empty() {
            return None;
        }
        let in_time = delay(&state, pause).await;
        let next = in_time.then(|| rest.split_to(1)).ok_or(io::ErrorKind::ConnectionAborted);
        Some((next.map_err(io::Error::from), (state, rest)))
    });
    ([response::JSON], Body::from_stream(body)).into_response()
}

/// Cuts the connection; the response is never written.
fn cut(connection: &CutHandle) -> Response {
    connection.cut();
    StatusCode::OK.into_response()
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

fn received_request(
    sequence: u64,
    message: Option<&OutgoingMessage<'_>>,
    attempt: Option<u32>,
    response: &ScriptedResponse,
) -> ReceivedRequest {
    ReceivedRequest {
        sequence,
        accepted: response.accepts(),
        status: response.status().map(|status| status.as_u16()),
        attempt,
        text: message.map(|message| message.text.clone().into_owned()),
        channel_type: message.map(|message| message.descriptor.channel_type.clone().into_owned()),
        device_address: message.map(|message| message.descriptor.device_address.clone().into_owned()),
    }
}
