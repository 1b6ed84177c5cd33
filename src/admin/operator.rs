//! `POST /pause` and `/resume`: the gate's reason `operator`.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    gate::GateReason,
    telemetry::{ClosedGate, Telemetry},
};

/// What a page says, and its status.
type Page = (StatusCode, &'static str);

/// Who may close the gate by hand, and the hold while it is closed so. It is gone with the process: a restart resumes.
pub(super) struct Operator {
    telemetry: Telemetry,
    token: Option<SecretString>,
    hold: Mutex<Option<ClosedGate>>,
}

impl Operator {
    pub(super) fn new(telemetry: Telemetry, token: Option<SecretString>) -> Self {
        Self { telemetry, token, hold: Mutex::default() }
    }

    /// `None` when the caller may; else what it is told.
    fn objection(&self, headers: &HeaderMap) -> Option<Page> {
        let Some(token) = &self.token else {
            return Some((StatusCode::FORBIDDEN, "not allowed: set admin.token, and send it as a bearer token\n"));
        };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let right = is_same(given.as_bytes(), token.expose_secret().as_bytes());
        (!right).then_some((StatusCode::UNAUTHORIZED, "not allowed: send admin.token as a bearer token\n"))
    }
}

pub(super) async fn pause(State(operator): State<Arc<Operator>>, headers: HeaderMap) -> Page {
    if let Some(objection) = operator.objection(&headers) {
        return objection;
    }
    let mut hold = operator.hold.lock().unwrap_or_else(PoisonError::into_inner);
    hold.get_or_insert_with(|| operator.telemetry.close_gate(GateReason::Operator, "paused by hand"));
    (StatusCode::OK, "paused: commands stay in the queue until POST /resume\n")
}

pub(super) async fn resume(State(operator): State<Arc<Operator>>, headers: HeaderMap) -> Page {
    if let Some(objection) = operator.objection(&headers) {
        return objection;
    }
    operator.hold.lock().unwrap_or_else(PoisonError::into_inner).take();
    (StatusCode::OK, "resumed\n")
}

/// Takes the same time wherever they differ, so that nobody finds a token byte by byte.
fn is_same(given: &[u8], token: &[u8]) -> bool {
    let differing = given.iter().zip(token).fold(0, |differing, (a, b)| differing | (a ^ b));
    given.len() == token.len() && differing == 0
}
