//! edna Chat Center over HTTP: makes one attempt and tells what is known afterwards, without judging it.
//!
//! Nothing here retries, follows a redirect, keeps a cookie or asks for a compressed body: one call is one POST.

mod address;
mod certificates;
mod client;
mod connect;
mod credential;
mod error;
mod http;
mod link;
mod pool;
mod post;
mod retry_after;
mod settings;
mod single;
mod token;

#[cfg(test)]
mod tests;

pub use address::join;
pub use certificates::are_certificates;
pub use client::ApiClient;
pub use credential::{Credentials, OnRefresh};
pub use error::{BuildError, RefreshError, TokenError};
pub use settings::ApiSettings;
pub use token::check as check_token;
