//! The tokens that the sandbox accepts.

use std::sync::Mutex;

use axum::http::{HeaderMap, header};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::sync::lock;

/// Maximum number of issued tokens; the oldest is dropped.
const MAX_TOKENS: usize = 64;

/// The tokens that the sandbox accepts.
pub(super) struct AcceptedTokens(Mutex<TokenPolicy>);

enum TokenPolicy {
    /// Any well-formed token.
    Any,
    /// Only these, oldest first.
    Only(Vec<SecretString>),
}

impl AcceptedTokens {
    pub(super) fn new(token: Option<SecretString>) -> Self {
        Self(Mutex::new(token.map_or(TokenPolicy::Any, |token| TokenPolicy::Only(vec![token]))))
    }

    /// Whether there is exactly one `Authorization: Bearer <token>`, with one prefix and an accepted token.
    pub(super) fn accepts(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let Some(token) = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer ")) else { return false };
        let is_well_formed = !token.is_empty() && !token.contains(char::is_whitespace);
        is_well_formed && self.is_accepted(token)
    }

    fn is_accepted(&self, token: &str) -> bool {
        match &*lock(&self.0) {
            TokenPolicy::Any => true,
            TokenPolicy::Only(tokens) => tokens.iter().any(|accepted| accepted.expose_secret() == token),
        }
    }

    /// Rejects every token until the next [`Self::set`] or [`Self::issue`].
    pub(super) fn revoke(&self) {
        *lock(&self.0) = TokenPolicy::Only(Vec::new());
    }

    /// Accepts only this token.
    pub(super) fn set(&self, token: SecretString) {
        *lock(&self.0) = TokenPolicy::Only(vec![token]);
    }

    /// Returns a new token that is accepted in addition to the others.
    pub(super) fn issue(&self) -> String {
        let token = Uuid::new_v4().simple().to_string();
        if let TokenPolicy::Only(tokens) = &mut *lock(&self.0) {
            if tokens.len() >= MAX_TOKENS {
                tokens.remove(0);
            }
            tokens.push(token.clone().into());
        }
        token
    }
}
