//! The send method: judge a request, note it down, then answer as the script wants.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use tokio_util::sync::CancellationToken;

use super::{
    action::{Action, Answer},
    answer,
    connection::Line,
    marker,
    options::Options,
    received::{Received, Record},
    script::{Script, Sight},
    token::Tokens,
    wire::{self, Outgoing},
};

/// Bytes of a request: more than the longest command becomes.
const MAX_BODY: usize = 512 << 10;

/// What all requests share.
pub(super) struct Desk {
    pub(super) options: Options,
    pub(super) tokens: Tokens,
    pub(super) script: Script,
    received: Mutex<Received>,
    /// Of the last accepted message.
    last_id: AtomicU64,
    /// The sandbox is about to stop: what hangs may end.
    pub(super) stopping: CancellationToken,
    /// The time for the rest is over too.
    pub(super) over: CancellationToken,
}

impl Desk {
    pub(super) fn new(mut options: Options) -> Self {
        Self {
            tokens: Tokens::new(options.token.take()),
            script: Script::new(options.seed),
            received: Mutex::new(Received::new(options.keep)),
            last_id: AtomicU64::new(0),
            stopping: CancellationToken::new(),
            over: CancellationToken::new(),
            options,
        }
    }

    pub(super) fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was decided on a request.
struct Decision {
    action: Action,
    /// The documented answer, if the message was accepted.
    sent: Bytes,
}

/// Serves every path that is no other's.
pub(super) async fn outgoing(
    State(desk): State<Arc<Desk>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request,
) -> Response {
    if request.uri().path() != desk.options.path {
        return answer::problem(StatusCode::NOT_FOUND, "there is no such path");
    }
    if request.method() != Method::POST {
        return answer::problem(StatusCode::METHOD_NOT_ALLOWED, "the method is POST");
    }
    let (head, body) = request.into_parts();
    let body = to_bytes(body, MAX_BODY).await.ok();
    let decision = desk.decide(&head.headers, body.as_deref());
    desk.carry_out(decision, &line).await
}

impl Desk {
    fn decide(&self, headers: &HeaderMap, body: Option<&[u8]>) -> Decision {
        let read = body.map(Outgoing::parse);
        let refusal = self.refusal(headers, read.as_ref());
        let outgoing = read.and_then(Result::ok);

        let mut received = self.received();
        // A refused one is no attempt: it must not use up what the text wants to happen.
        let good = outgoing.as_ref().filter(|_| refusal.is_none());
        let attempt = good.map(|outgoing| received.attempt(outgoing.key()));
        let scripted = || good.zip(attempt).and_then(|(outgoing, attempt)| self.scripted(outgoing, attempt));
        let action = refusal.or_else(scripted).unwrap_or_else(|| Answer::Good.into());
        if action.answer == Answer::Unauthorized {
            self.tokens.revoke();
        }
        received.add(action.answer.accepts(), |sequence| record(sequence, outgoing.as_ref(), attempt, &action.answer));
        drop(received);

        let sent = outgoing.filter(|_| action.answer.accepts()).map(|outgoing| self.accept(&outgoing));
        Decision { action, sent: sent.unwrap_or_default() }
    }

    /// What the API itself has against a request.
    fn refusal(&self, headers: &HeaderMap, read: Option<&Result<Outgoing<'_>, String>>) -> Option<Action> {
        let refuse = |status, message: &str| {
            Some(Answer::Status { status, retry_after: None, body: Some(wire::problem(status, message)) }.into())
        };
        if !self.tokens.admits(headers) {
            return refuse(StatusCode::UNAUTHORIZED, "the token is missing, unknown or has not exactly one prefix");
        }
        if !is_json(headers) {
            return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content type is not application/json");
        }
        match read {
            None => refuse(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large or broke off"),
            Some(Err(mistake)) => refuse(StatusCode::BAD_REQUEST, mistake),
            Some(Ok(_)) => None,
        }
    }

    /// What rules, else the text itself, want to happen to a request that is good.
    fn scripted(&self, outgoing: &Outgoing<'_>, attempt: u32) -> Option<Action> {
        let random_unit = outgoing.key().wrapping_add(u64::from(attempt));
        let sight = Sight { address: &outgoing.descriptor.device_address, text: &outgoing.text, random_unit };
        if let Some(action) = self.script.pick(&sight) {
            return Some(action);
        }
        marker::action(&outgoing.text, attempt).unwrap_or_else(|marker::Unreadable| {
            let status = StatusCode::BAD_REQUEST;
            let body = Some(wire::problem(status, "a marker of the sandbox in the text can't be read"));
            Some(Answer::Status { status, retry_after: None, body }.into())
        })
    }

    fn accept(&self, outgoing: &Outgoing<'_>) -> Bytes {
        wire::sent(self.last_id.fetch_add(1, Ordering::Relaxed).saturating_add(1), outgoing)
    }

    async fn carry_out(self: Arc<Self>, Decision { action, sent }: Decision, line: &Line) -> Response {
        if !self.wait(self.latency().saturating_add(action.delay)).await {
            return cut(line);
        }
        match action.answer {
            Answer::Good => answer::json(StatusCode::OK, sent),
            Answer::Status { status, retry_after, body } => answer::status(status, retry_after, body, sent),
            Answer::Unauthorized => answer::problem(StatusCode::UNAUTHORIZED, "the token has expired"),
            Answer::WrongBody => answer::json(StatusCode::OK, Bytes::from_static(b"<html>not JSON</html>")),
            Answer::SlowBody(time) => self.slowly(sent, time),
            Answer::Cut | Answer::CutBefore => cut(line),
            Answer::Hang => {
                self.stopping.cancelled().await;
                cut(line)
            }
        }
    }

    fn latency(&self) -> Duration {
        let Options { latency, jitter, .. } = self.options;
        if jitter.is_zero() { latency } else { latency.saturating_add(jitter.mul_f64(fastrand::f64())) }
    }

    /// False when the sandbox ended before the time was over.
    async fn wait(&self, time: Duration) -> bool {
        if time.is_zero() {
            return true;
        }
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            () = self.over.cancelled() => false,
        }
    }

    /// The body byte by byte; cut when the sandbox ends before.
    fn slowly(self: Arc<Self>, sent: Bytes, time: Duration) -> Response {
        let pause = time.div_f64(sent.len().max(1) as f64);
        let body = stream::unfold((self, sent), move |(desk, mut rest): (Arc<Self>, Bytes)| async move {
            if rest.is_empty() {
                return None;
            }
            let in_time = desk.wait(pause).await;
            let next = in_time.then(|| rest.split_to(1)).ok_or(io::ErrorKind::ConnectionAborted);
            Some((next.map_err(io::Error::from), (desk, rest)))
        });
        ([answer::JSON], Body::from_stream(body)).into_response()
    }
}

/// The answer that is never written.
fn cut(line: &Line) -> Response {
    line.cut();
    StatusCode::OK.into_response()
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

fn record(sequence: u64, outgoing: Option<&Outgoing<'_>>, attempt: Option<u32>, answer: &Answer) -> Record {
    Record {
        sequence,
        accepted: answer.accepts(),
        status: answer.status().map(|status| status.as_u16()),
        attempt,
        text: outgoing.map(|outgoing| outgoing.text.clone().into_owned()),
        channel_type: outgoing.map(|outgoing| outgoing.descriptor.channel_type.clone().into_owned()),
        device_address: outgoing.map(|outgoing| outgoing.descriptor.device_address.clone().into_owned()),
    }
}
