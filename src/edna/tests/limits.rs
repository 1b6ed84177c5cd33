//! Time and size: nothing the API does takes more of either than it may.

use futures_util::future::join_all;

use super::*;
use crate::domain::evidence::{NoAnswer, NotSent};

const SHORT: Duration = Duration::from_millis(200);

fn hasty(base_url: String) -> ApiClient {
    ApiClient::new(&ApiSettings { timeout: SHORT, ..settings(base_url) }, token("t")).unwrap()
}

#[tokio::test]
async fn an_api_that_takes_the_request_and_says_nothing_is_a_time_out() {
    let (address, seen) = scripted(Then::Hang(Vec::new())).await;
    let (evidence, took) = hasty(format!("http://{address}")).send(&Bytes::from_static(b"{}")).await;
    assert_eq!(evidence, Evidence::NoAnswer(NoAnswer::Timeout));
    assert!(took >= SHORT && took < SHORT * 20, "{took:?}");
    assert_eq!(seen.requests().len(), 1, "no retry");
}

#[tokio::test]
async fn a_body_that_never_ends_leaves_the_status_known() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\"".to_vec();
    let (address, _) = scripted(Then::Hang(head)).await;
    assert_eq!(send(&hasty(format!("http://{address}"))).await, without_body(200));
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_not_sent_even_when_no_connect_time_is_left() {
    // Accepts connections in the kernel and never answers: the handshake hangs, the request cannot have left.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = hasty(format!("https://{}", silent.local_addr().unwrap()));
    // Also those that wait for another to find out whether the connection can be shared.
    for evidence in join_all((0..5).map(|_| send(&client))).await {
        assert!(matches!(evidence, Evidence::NotSent(NotSent::Connect | NotSent::Tls)), "{evidence:?}");
    }
}

#[tokio::test]
async fn a_body_is_read_to_64_kib_and_no_further() {
    for (length, kept) in [(64 * 1024, true), (64 * 1024 + 1, false), (100 * 1024, false), (10 * 1024 * 1024, false)] {
        let mut bytes = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
        bytes.resize(bytes.len() + length, b'x');
        let (address, _) = scripted(Then::Write(bytes)).await;
        let Evidence::Answer(Answer { status: 200, body, .. }) = send(&client(address)).await else {
            panic!("no answer for {length}")
        };
        assert_eq!(body.map(|body| body.len()), kept.then_some(length));
    }
}

/// Serves `bytes` for the first `answers` requests of each connection and closes it when one more has arrived; what it
/// saw is where each request came from.
async fn keep_alive(answers: usize, bytes: Vec<u8>) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Seen::default());
    let log = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, peer)) = listener.accept().await {
            let (bytes, log) = (bytes.clone(), log.clone());
            tokio::spawn(async move {
                for turn in 0..=answers {
                    if read_request(&mut stream).await.is_empty() {
                        return;
                    }
                    log.0.lock().unwrap().push(peer.to_string());
                    if turn < answers {
                        stream.write_all(&bytes).await.unwrap();
                    }
                }
            });
        }
    });
    (address, seen)
}

#[tokio::test]
async fn a_connection_serves_again_after_a_body_that_is_a_little_too_long() {
    let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 102400\r\n\r\n".to_vec();
    bytes.resize(bytes.len() + 102_400, b'x');
    let (address, seen) = keep_alive(3, bytes).await;
    let client = client(address);
    for _ in 0..3 {
        assert_eq!(send(&client).await, without_body(200));
    }
    let mut connections = seen.requests();
    connections.dedup();
    assert_eq!(connections.len(), 1);
}

#[tokio::test]
async fn the_rest_of_a_body_that_is_too_long_is_not_waited_for() {
    let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 102400\r\n\r\n".to_vec();
    bytes.resize(bytes.len() + 70_000, b'x');
    let (address, _) = scripted(Then::Hang(bytes)).await;
    let settings = ApiSettings { timeout: Duration::from_secs(60), ..settings(format!("http://{address}")) };
    let (evidence, took) = ApiClient::new(&settings, token("t")).unwrap().send(&Bytes::from_static(b"{}")).await;
    assert_eq!(evidence, without_body(200));
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[tokio::test]
async fn a_request_that_met_a_dying_connection_is_not_sent_again() {
    let (address, seen) = keep_alive(1, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    let client = client(address);
    assert_eq!(send(&client).await, answer(200, b""));
    assert_eq!(send(&client).await, Evidence::NoAnswer(NoAnswer::Broken));
    let [first, second] = seen.requests().try_into().unwrap();
    assert_eq!(first, second, "on the connection that was kept, and once");
}

#[tokio::test]
async fn endless_patience_is_no_panic() {
    let (address, _) = scripted(Then::Write(b"HTTP/1.1 204 Empty\r\n\r\n".to_vec())).await;
    let settings =
        ApiSettings { timeout: Duration::MAX, connect_timeout: Duration::MAX, ..settings(format!("http://{address}")) };
    assert_eq!(send(&ApiClient::new(&settings, token("t")).unwrap()).await, answer(204, b""));
}

#[test]
fn what_is_wrong_with_the_settings_is_said_without_showing_them() {
    let dir = std::env::temp_dir().join(format!("edna-client-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&dir).unwrap();
    let (no_pem, absent) = (dir.join("no.pem"), dir.join("absent.pem"));
    std::fs::write(&no_pem, "hello").unwrap();
    let good = || settings("http://h");
    let rows = [
        (ApiSettings { base_url: "s3cret".into(), ..good() }, token("t"), "api.base_url: "),
        (ApiSettings { path: "x://s3cret".into(), ..good() }, token("t"), "api.path: "),
        (ApiSettings { ca_file: Some(absent.clone()), ..good() }, token("t"), "api.ca_file: cannot read "),
        (ApiSettings { ca_file: Some(no_pem), ..good() }, token("t"), "api.ca_file: "),
        (good(), token("s3cret two"), "api.token: "),
        (good(), Credentials::TokenFile(absent), "the token file "),
    ];
    for (settings, credentials, start) in rows {
        let error = ApiClient::new(&settings, credentials).unwrap_err().to_string();
        assert!(error.starts_with(start) && !error.contains("s3"), "{error}");
    }
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn debug_shows_no_secret() {
    let login =
        Credentials::Login { path: "/l".into(), login: "u".into(), password: "s3cret".into(), password_file: None };
    let client = ApiClient::new(&settings("http://h"), login.clone()).unwrap();
    let shown = format!("{login:?} {client:?} {:?}", token("s3cret"));
    assert!(!shown.contains("s3cret"), "{shown}");
}
