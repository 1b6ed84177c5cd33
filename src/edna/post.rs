//! One request. What all of them share is made once.

use std::io::Write;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT},
};
use reqwest::Url;

use super::error::BuildError;

/// Says who calls, to the API's own logs.
const CALLER: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
/// Room for the names and the number in what follows the shared part of a head.
const OWN_BYTES: usize = 64;

/// Where to post, with the headers that each request has.
#[derive(Clone)]
pub(super) struct Endpoint {
    /// As HTTP/1.1 has it: the head but for the last headers.
    head: Bytes,
    /// As HTTP/2 has it, which has a header of its own for the host.
    uri: Uri,
    headers: HeaderMap,
}

/// One request there.
pub(super) struct Post<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) authorization: Option<&'a HeaderValue>,
    pub(super) body: &'a Bytes,
}

impl Endpoint {
    /// At an address that [`super::join`] made for this setting.
    pub(super) fn new(url: &Url, setting: &'static str) -> Result<Self, BuildError> {
        let wrong = || BuildError::Address { setting, problem: "it holds characters that no request can carry" };
        let uri = Uri::try_from(url.as_str()).map_err(|_| wrong())?;
        let path = uri.path_and_query().ok_or_else(wrong)?;
        // Without the port where the scheme tells it.
        let host = url.host_str().map(|host| url.port().map_or(host.to_owned(), |port| format!("{host}:{port}")));
        let host = host.filter(|host| HeaderValue::from_str(host).is_ok()).ok_or_else(wrong)?;
        let json = "application/json";
        let shared = [(ACCEPT, json), (CONTENT_TYPE, json), (USER_AGENT, CALLER)];
        let mut head = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\n");
        for (name, value) in &shared {
            head.extend([name.as_str(), ": ", value, "\r\n"]);
        }
        let headers = shared.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
        Ok(Self { head: head.into(), uri, headers })
    }

    pub(super) const fn uri(&self) -> &Uri {
        &self.uri
    }
}

impl Post<'_> {
    /// As it goes over a connection of HTTP/1.1.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let (head, token) = (&self.endpoint.head, self.authorization.map_or(&[][..], HeaderValue::as_bytes));
        let mut bytes = Vec::with_capacity(head.len() + token.len() + OWN_BYTES + self.body.len());
        bytes.extend_from_slice(head);
        if self.authorization.is_some() {
            bytes.extend_from_slice(b"authorization: ");
            bytes.extend_from_slice(token);
            bytes.extend_from_slice(b"\r\n");
        }
        // Memory takes all of it.
        let _ = write!(bytes, "content-length: {}\r\n\r\n", self.body.len());
        bytes.extend_from_slice(self.body);
        bytes
    }

    /// For a connection of HTTP/2.
    pub(super) fn request(&self) -> Request<Full<Bytes>> {
        let Endpoint { uri, headers, .. } = self.endpoint;
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers.clone();
        if let Some(value) = self.authorization {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        request
    }
}
