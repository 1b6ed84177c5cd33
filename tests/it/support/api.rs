//! An HTTP API that records whole requests and returns scripted responses.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, Method, StatusCode, Uri},
};
use tokio::net::TcpListener;

/// The response body of the API's documentation.
pub(crate) const SUCCESS_BODY: &str =
    r#"{ "id": 1, "threadId": 2, "clientId": 1, "clientExternalId": null, "agentId": 3 }"#;

/// A received request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Request {
    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the request body is JSON")
    }

    /// All values of a header.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().expect("ASCII")).collect()
    }
}

/// Status code and body.
type Response = (u16, String);

struct ApiState {
    /// Takes the request's number, from 1.
    respond: Box<dyn Fn(usize) -> Response + Send + Sync>,
    requests: Mutex<Vec<Request>>,
}

/// The API server. It stops with the test's runtime.
pub(crate) struct RecordingApi {
    url: String,
    state: Arc<ApiState>,
}

impl RecordingApi {
    /// Responds to the nth request, from 1, with `respond(n)`.
    pub(crate) async fn start(respond: impl Fn(usize) -> Response + Send + Sync + 'static) -> Self {
        let state = Arc::new(ApiState { respond: Box::new(respond), requests: Mutex::default() });
        let (listener, shared) = (TcpListener::bind("127.0.0.1:0").await.expect("a free port"), Arc::clone(&state));
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let serve = async move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            shared.serve(Request { method, path: uri.path().to_owned(), headers, body }).await
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(serve)).await });
        Self { url, state }
    }

    /// The value for `api.base_url`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// All requests so far, in order of arrival.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().expect("not poisoned").clone()
    }
}

impl ApiState {
    async fn serve(&self, request: Request) -> (StatusCode, String) {
        let number = {
            let mut requests = self.requests.lock().expect("not poisoned");
            requests.push(request);
            requests.len()
        };
        let (status, body) = (self.respond)(number);
        (StatusCode::from_u16(status).expect("a valid status code"), body)
    }
}
