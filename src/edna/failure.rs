//! What the failure of a request proves: *not sent* or *no answer*.
//!
//! reqwest reports a failure before a connection was usable (DNS, TCP, proxy, TLS) as a connect error. Every other failure
//! is *no answer*: the request was handed to a connection, and how much of it left is unknown. That holds for a kept
//! connection that the server closed under the request, and for an HTTP/2 stream that the server refused: the careful side.

use std::{error::Error, io};

use super::proxy::Proxy;
use crate::domain::evidence::{Evidence, NoAnswer, NotSent};

/// How hyper-util's errors of a tunnel or a SOCKS handshake begin. Their types are private, so their text is the only
/// mark; only the wording of the evidence depends on it.
const PROXY_ERRORS: [&str; 2] = ["tunnel error", "SOCKS error"];

/// The evidence of a request that failed before the head of a response was read.
pub(super) fn evidence(error: &reqwest::Error, proxy: &Proxy) -> Evidence {
    if error.is_connect() { Evidence::NotSent(not_sent(error, proxy)) } else { Evidence::NoAnswer(NoAnswer::Broken) }
}

/// The evidence of a response with status 407, which only a proxy sends (RFC 9110, section 15.5.8).
pub(super) fn proxy_authentication_required(proxy: &Proxy) -> Evidence {
    Evidence::NotSent(NotSent::Proxy(format!("{proxy}: proxy authorization required").into()))
}

fn not_sent(error: &reqwest::Error, proxy: &Proxy) -> NotSent {
    let is_proxy_error = || chain(error).any(is_proxy_error);
    let through_proxy = || NotSent::Proxy(format!("{proxy}: {}", root_cause(error)).into());
    match proxy {
        Proxy::Url { .. } | Proxy::Environment if is_proxy_error() => through_proxy(),
        _ if chain(error).any(is_tls_error) => NotSent::Tls,
        // The connection that failed is the one to the proxy.
        Proxy::Url { .. } => through_proxy(),
        _ if error.is_dns() => NotSent::Dns,
        _ => NotSent::Connect,
    }
}

fn is_proxy_error(error: &(dyn Error + 'static)) -> bool {
    let text = error.to_string();
    PROXY_ERRORS.iter().any(|start| text.starts_with(start))
}

/// Whether the TLS handshake failed. An `io::Error` does not show the error it wraps as its source, so its inside is
/// checked, too. An end of file comes from a handshake that the server cut short: a TCP connect never ends in one.
fn is_tls_error(error: &(dyn Error + 'static)) -> bool {
    let Some(io) = error.downcast_ref::<io::Error>() else { return error.is::<rustls::Error>() };
    io.kind() == io::ErrorKind::UnexpectedEof || io.get_ref().is_some_and(|wrapped| is_tls_error(wrapped))
}

/// The innermost error: the outer ones name the URL or say only that something failed.
fn root_cause(error: &reqwest::Error) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// The causes of a reqwest error, outermost first, without the error itself: its text holds the URL.
fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |&error| error.source())
}
