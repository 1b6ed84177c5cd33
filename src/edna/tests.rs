//! The client against scripted servers.

mod authorities;
mod credential;
mod evidence;
mod limits;
mod pool;
mod proxies;
mod tls;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use secrecy::SecretString;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

use super::{ApiClient, ApiSettings, Credentials, Proxy};
use crate::{
    domain::evidence::{Answer, Evidence},
    ports::Sender,
};

/// What a scripted server does after it has read a request.
#[derive(Clone)]
enum Reply {
    /// Write this and close.
    Write(Vec<u8>),
    /// Write this and leave the connection open.
    Hang(Vec<u8>),
}

/// The requests that a server received.
#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<String>>>);

impl Received {
    fn requests(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Serves one request on each connection.
async fn scripted(reply: Reply) -> (SocketAddr, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, received) = (listener.local_addr().unwrap(), Received::default());
    let log = received.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, reply.clone(), log.clone()));
        }
    });
    (address, received)
}

async fn serve(mut stream: TcpStream, reply: Reply, received: Received) {
    let request = read_request(&mut stream).await;
    received.0.lock().unwrap().push(request);
    match reply {
        // The client may have closed the connection.
        Reply::Write(bytes) => drop(stream.write_all(&bytes).await),
        Reply::Hang(bytes) => {
            drop(stream.write_all(&bytes).await);
            drop(stream.read_u8().await);
        }
    }
}

/// Reads up to the end of the tests' body, the only part of a request that ends in a brace.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"}") && stream.read_buf(&mut request).await.is_ok_and(|count| count > 0) {}
    String::from_utf8_lossy(&request).into_owned()
}

/// An address that refuses connections while the returned socket, which never listens, exists.
fn refusing() -> (SocketAddr, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (socket.local_addr().unwrap(), socket)
}

fn settings(base_url: impl Into<String>) -> ApiSettings {
    ApiSettings {
        base_url: base_url.into(),
        timeout: Duration::from_secs(5),
        proxy: Proxy::Disabled,
        ..ApiSettings::default()
    }
}

fn token(text: &str) -> Credentials {
    Credentials::Token(SecretString::from(text))
}

fn client(address: SocketAddr) -> ApiClient {
    ApiClient::new(&settings(format!("http://{address}")), token("t0ken")).unwrap()
}

async fn send(client: &ApiClient) -> Evidence {
    client.send(&Bytes::from_static(b"{\"text\":\"private\"}")).await.0
}

fn answer(status: u16, body: &[u8]) -> Evidence {
    Evidence::Answer(Answer { status, retry_after: None, body: Some(body.to_vec()) })
}

fn without_body(status: u16) -> Evidence {
    Evidence::Answer(Answer { status, retry_after: None, body: None })
}

/// The header lines of a raw request, names in lower case.
fn headers(request: &str) -> HashMap<String, Vec<String>> {
    let mut headers: HashMap<String, Vec<String>> = HashMap::new();
    let head = request.split("\r\n\r\n").next().unwrap();
    for (name, value) in head.lines().skip(1).filter_map(|line| line.split_once(": ")) {
        headers.entry(name.to_lowercase()).or_default().push(value.into());
    }
    headers
}
