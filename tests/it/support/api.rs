//! An API that keeps whole requests, as they came over the wire, and answers as told.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, Method, StatusCode, Uri},
};
use tokio::net::TcpListener;

/// The documented answer.
pub(crate) const GOOD: &str = r#"{ "id": 1, "threadId": 2, "clientId": 1, "clientExternalId": null, "agentId": 3 }"#;

/// A request as it arrived.
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
        serde_json::from_slice(&self.body).expect("the daemon posts JSON")
    }

    /// All values of a header.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().expect("ASCII")).collect()
    }
}

type Answer = (u16, String);

/// What requests share.
struct Desk {
    /// By the request's number, from 1.
    answer: Box<dyn Fn(usize) -> Answer + Send + Sync>,
    requests: Mutex<Vec<Request>>,
}

/// The API; it stops with the test's runtime.
pub(crate) struct Api {
    url: String,
    desk: Arc<Desk>,
}

impl Api {
    /// Answers the nth request, from 1, with this status and body.
    pub(crate) async fn answering(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        let desk = Arc::new(Desk { answer: Box::new(answer), requests: Mutex::default() });
        let (listener, served) = (TcpListener::bind("127.0.0.1:0").await.expect("a free port"), Arc::clone(&desk));
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let serve = async move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            served.serve(Request { method, path: uri.path().to_owned(), headers, body }).await
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(serve)).await });
        Self { url, desk }
    }

    /// For `api.base_url`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// All requests so far, in the order of their arrival.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.desk.requests.lock().expect("not poisoned").clone()
    }
}

impl Desk {
    async fn serve(&self, request: Request) -> (StatusCode, String) {
        let number = {
            let mut requests = self.requests.lock().expect("not poisoned");
            requests.push(request);
            requests.len()
        };
        let (status, body) = (self.answer)(number);
        (StatusCode::from_u16(status).expect("a status"), body)
    }
}
