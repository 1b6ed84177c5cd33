//! Which tokens the sandbox accepts.

use std::sync::{PoisonError, RwLock};

use axum::http::{HeaderMap, header};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

/// Tokens that logins got, at a time; the oldest makes room.
const MAX_TOKENS: usize = 64;

/// The accepted tokens.
pub(super) struct Tokens(RwLock<Accepted>);

enum Accepted {
    /// No token was set: any will do.
    Any,
    /// These and no others, oldest first.
    Only(Vec<SecretString>),
}

impl Tokens {
    pub(super) fn new(token: Option<SecretString>) -> Self {
        Self(RwLock::new(token.map_or(Accepted::Any, |token| Accepted::Only(vec![token]))))
    }

    /// Whether there is one `Authorization: Bearer <token>`, with one prefix and a token that is accepted.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let Some(token) = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer ")) else { return false };
        let well_formed = !token.is_empty() && !token.contains(char::is_whitespace);
        well_formed && self.knows(token)
    }

    fn knows(&self, token: &str) -> bool {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Accepted::Any => true,
            Accepted::Only(tokens) => tokens.iter().any(|known| known.expose_secret() == token),
        }
    }

    /// Refuses every token until the next [`Self::set`] or [`Self::issue`].
    pub(super) fn revoke(&self) {
        self.replace(Accepted::Only(Vec::new()));
    }

    /// Accepts this token and no other.
    pub(super) fn set(&self, token: SecretString) {
        self.replace(Accepted::Only(vec![token]));
    }

    /// A new token, accepted beside the old ones.
    pub(super) fn issue(&self) -> String {
        let token = Uuid::new_v4().simple().to_string();
        if let Accepted::Only(tokens) = &mut *self.0.write().unwrap_or_else(PoisonError::into_inner) {
            if tokens.len() >= MAX_TOKENS {
                tokens.remove(0);
            }
            tokens.push(token.clone().into());
        }
        token
    }

    fn replace(&self, accepted: Accepted) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = accepted;
    }
}
