//! The sandbox over HTTP.

mod api;
mod control;
mod failures;

use std::net::{Ipv4Addr, SocketAddr};

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::{Options, ReceivedFilter, ReceivedRequest, Sandbox};

/// A sandbox and an HTTP client.
struct TestSandbox {
    sandbox: Sandbox,
    client: Client,
}

fn start(options: Options) -> TestSandbox {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    TestSandbox { sandbox: Sandbox::start(any_port, options).unwrap(), client: Client::new() }
}

fn message(address: &str, text: &str) -> Value {
    json!({ "text": text, "attachments": [],
        "clientApplicationDescriptor": { "channelType": "WHATSAPP", "deviceAddress": address } })
}

impl TestSandbox {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.sandbox.addr())
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.client.post(self.url(path)).body(body.to_string())
    }

    /// A valid request with this body, not yet sent.
    fn request(&self, body: &Value) -> RequestBuilder {
        let request = self.post(super::DEFAULT_PATH, body);
        request.header("content-type", "application/json").header("authorization", "Bearer t")
    }

    async fn send(&self, text: &str) -> Result<Response, reqwest::Error> {
        self.request(&message("1", text)).send().await
    }

    async fn status(&self, text: &str) -> StatusCode {
        self.send(text).await.unwrap().status()
    }

    async fn script(&self, rules: Value) -> StatusCode {
        self.post("/script", &rules).send().await.unwrap().status()
    }

    fn received(&self) -> Vec<ReceivedRequest> {
        self.sandbox.received(&ReceivedFilter::default()).requests
    }
}

async fn json_of(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}
