//! The HTTP client of edna Chat Center: makes one attempt and returns the evidence that it leaves.
//!
//! One call is one POST: nothing here retries, follows a redirect, keeps a cookie or decompresses a body. The evidence is
//! not judged here; [`crate::domain::verdict`] does that.

mod address;
mod client;
mod credential;
mod endpoint;
mod error;
mod failure;
mod http;
mod keep_alive;
mod proxy;
mod retry_after;
mod settings;
mod tls;
mod token;

#[cfg(test)]
mod tests;

pub use address::join;
pub use client::ApiClient;
pub use credential::Credentials;
pub use error::{BuildError, IdentityError, OnRefresh, RefreshError, TokenError};
pub use proxy::Proxy;
pub use settings::ApiSettings;
pub use tls::{are_certificates, check_identity};
pub use token::check as check_token;
