//! The client against small servers that misbehave as told.

mod credential;
mod evidence;
mod limits;
mod pool;
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

use super::{ApiClient, ApiSettings, Credentials};
use crate::{
    domain::evidence::{Answer, Evidence},
    ports::Sender,
};

/// How a scripted server treats one connection after it has read a request.
#[derive(Clone)]
enum Then {
    /// Write this and close.
    Write(Vec<u8>),
    /// Write this and leave the connection open.
    Hang(Vec<u8>),
}

/// What a scripted server saw.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn requests(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Answers the request on every connection the same way.
async fn scripted(then: Then) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Seen::default());
    let log = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, then.clone(), log.clone()));
        }
    });
    (address, seen)
}

async fn serve(mut stream: TcpStream, then: Then, seen: Seen) {
    let request = read_request(&mut stream).await;
    seen.0.lock().unwrap().push(request);
    match then {
        // The client may have gone meanwhile, which is its right.
        Then::Write(bytes) => drop(stream.write_all(&bytes).await),
        Then::Hang(bytes) => {
            drop(stream.write_all(&bytes).await);
            drop(stream.read_u8().await);
        }
    }
}

/// Up to the end of the tests' body, which ends in a brace that nothing else has.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"}") && stream.read_buf(&mut request).await.is_ok_and(|count| count > 0) {}
    String::from_utf8_lossy(&request).into_owned()
}

/// An address that refuses connections for as long as the socket, which never listens, holds it.
fn refusing() -> (SocketAddr, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (socket.local_addr().unwrap(), socket)
}

fn settings(base_url: impl Into<String>) -> ApiSettings {
    ApiSettings { base_url: base_url.into(), timeout: Duration::from_secs(5), ..ApiSettings::default() }
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

/// The header lines of a raw request, with names in lower case.
fn headers(request: &str) -> HashMap<String, Vec<String>> {
    let mut headers: HashMap<String, Vec<String>> = HashMap::new();
    let head = request.split("\r\n\r\n").next().unwrap();
    for (name, value) in head.lines().skip(1).filter_map(|line| line.split_once(": ")) {
        headers.entry(name.to_lowercase()).or_default().push(value.into());
    }
    headers
}
