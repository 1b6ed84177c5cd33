//! `POST /pause` and `/resume`: the gate's reason `operator`. Resuming also releases the brake.

use std::sync::{Arc, Mutex};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::{
    gate::{Gate, GateHold, GateReason},
    sync::lock,
};

type TextResponse = (StatusCode, &'static str);

/// The operator's hold on the gate and the token that protects it. The hold ends with the process: a restart resumes.
pub(super) struct OperatorControl {
    gate: Gate,
    token: Option<SecretString>,
    hold: Mutex<Option<GateHold>>,
}

impl OperatorControl {
    pub(super) fn new(gate: Gate, token: Option<SecretString>) -> Self {
        Self { gate, token, hold: Mutex::default() }
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), TextResponse> {
        let Some(token) = &self.token else {
            return Err((StatusCode::FORBIDDEN, "forbidden: set admin.token, and send it as a bearer token\n"));
        };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        // In constant time, so that the token cannot be guessed byte by byte.
        if given.as_bytes().ct_eq(token.expose_secret().as_bytes()).into() {
            Ok(())
        } else {
            Err((StatusCode::UNAUTHORIZED, "unauthorized: send admin.token as a bearer token\n"))
        }
    }
}

pub(super) async fn pause(
    State(control): State<Arc<OperatorControl>>,
    headers: HeaderMap,
) -> Result<TextResponse, TextResponse> {
    control.authorize(&headers)?;
    lock(&control.hold).get_or_insert_with(|| control.gate.close(GateReason::Operator, "paused by an operator"));
    Ok((StatusCode::OK, "paused: commands stay in the queue until POST /resume\n"))
}

pub(super) async fn resume(
    State(control): State<Arc<OperatorControl>>,
    headers: HeaderMap,
) -> Result<TextResponse, TextResponse> {
    control.authorize(&headers)?;
    lock(&control.hold).take();
    control.gate.resume();
    Ok((StatusCode::OK, "resumed\n"))
}
