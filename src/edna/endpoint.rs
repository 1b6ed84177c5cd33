//! A URL to post to, with the headers that every request to it has.

use bytes::Bytes;
use reqwest::{
    Method, Request, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Built once; each request clones it.
#[derive(Clone)]
pub(super) struct Endpoint {
    url: Url,
    headers: HeaderMap,
}

impl Endpoint {
    /// An endpoint at a URL that [`super::join`] built.
    pub(super) fn new(url: Url) -> Self {
        let headers = [(ACCEPT, JSON), (CONTENT_TYPE, JSON)].into_iter().collect();
        Self { url, headers }
    }

    pub(super) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// A POST of `body`.
    pub(super) fn request(&self, authorization: Option<&HeaderValue>, body: Bytes) -> Request {
        let mut request = Request::new(Method::POST, self.url.clone());
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.clone());
        }
        *request.body_mut() = Some(body.into());
        request
    }
}
