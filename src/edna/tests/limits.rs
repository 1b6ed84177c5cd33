//! Limits of time and size.

use futures_util::future::join_all;

use super::*;
use crate::domain::evidence::{NoAnswer, NotSent};

const SHORT: Duration = Duration::from_millis(200);

fn impatient(base_url: String) -> ApiClient {
    ApiClient::new(&ApiSettings { timeout: SHORT, ..settings(base_url) }, token("t")).unwrap()
}

#[tokio::test]
async fn api_that_never_responds_is_a_timeout() {
    let (address, received) = scripted(Reply::Hang(Vec::new())).await;
    let (evidence, took) = impatient(format!("http://{address}")).send(&Bytes::from_static(b"{}")).await;
    assert_eq!(evidence, Evidence::NoAnswer(NoAnswer::Timeout));
    assert!(took >= SHORT && took < SHORT * 20, "{took:?}");
    assert_eq!(received.requests().len(), 1, "no retry");
}

#[tokio::test]
async fn body_that_never_ends_leaves_the_status_known() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\"".to_vec();
    let (address, _) = scripted(Reply::Hang(head)).await;
    assert_eq!(send(&impatient(format!("http://{address}"))).await, without_body(200));
}

#[tokio::test]
async fn tls_handshake_that_never_ends_is_not_sent() {
    // The kernel accepts the connection, nothing answers the client hello.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = impatient(format!("https://{}", silent.local_addr().unwrap()));
    // Several at once: over HTTP/2 they would share a connection.
    for evidence in join_all((0..5).map(|_| send(&client))).await {
        assert!(matches!(evidence, Evidence::NotSent(NotSent::Connect | NotSent::Tls)), "{evidence:?}");
    }
}

#[tokio::test]
async fn body_is_read_up_to_64_kib() {
    for (length, kept) in [(64 * 1024, true), (64 * 1024 + 1, false), (100 * 1024, false), (10 * 1024 * 1024, false)] {
        let mut bytes = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
        bytes.resize(bytes.len() + length, b'x');
        let (address, _) = scripted(Reply::Write(bytes)).await;
        let Evidence::Answer(Answer { status: 200, body, .. }) = send(&client(address)).await else {
            panic!("no answer for {length}")
        };
        assert_eq!(body.map(|body| body.len()), kept.then_some(length));
    }
}

/// Serves `bytes` for the first `answers` requests of each connection and closes it after one more request. The result
/// lists the peer address of each request.
async fn keep_alive(answers: usize, bytes: Vec<u8>) -> (SocketAddr, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, received) = (listener.local_addr().unwrap(), Received::default());
    let log = received.clone();
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
    (address, received)
}

#[tokio::test]
async fn request_on_a_kept_connection_that_closes_is_no_answer() {
    let (address, received) = keep_alive(1, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    let client = client(address);
    assert_eq!(send(&client).await, answer(200, b""));
    assert_eq!(send(&client).await, Evidence::NoAnswer(NoAnswer::Broken));
    let [first, second] = received.requests().try_into().unwrap();
    assert_eq!(first, second, "once, on the kept connection");
}

#[tokio::test]
async fn timeout_beyond_the_clock_does_not_panic() {
    let (address, _) = scripted(Reply::Write(b"HTTP/1.1 204 Empty\r\n\r\n".to_vec())).await;
    let settings =
        ApiSettings { timeout: Duration::MAX, connect_timeout: Duration::MAX, ..settings(format!("http://{address}")) };
    assert_eq!(send(&ApiClient::new(&settings, token("t")).unwrap()).await, answer(204, b""));
}

#[test]
fn build_error_names_the_setting_and_hides_its_value() {
    let dir = std::env::temp_dir().join(format!("edna-client-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&dir).unwrap();
    let (no_pem, absent) = (dir.join("no.pem"), dir.join("absent.pem"));
    std::fs::write(&no_pem, "hello").unwrap();
    let good = || settings("http://h");
    let pair = |cert: &std::path::PathBuf, key: &std::path::PathBuf| Some((cert.clone(), key.clone()));
    let rows = [
        (ApiSettings { base_url: "s3cret".into(), ..good() }, token("t"), "api.base_url: "),
        (ApiSettings { path: "x://s3cret".into(), ..good() }, token("t"), "api.path: "),
        (ApiSettings { ca_file: Some(absent.clone()), ..good() }, token("t"), "api.ca_file: cannot read "),
        (ApiSettings { ca_file: Some(no_pem.clone()), ..good() }, token("t"), "api.ca_file: "),
        (ApiSettings { identity_files: pair(&absent, &no_pem), ..good() }, token("t"), "api.cert_file: cannot read "),
        (ApiSettings { identity_files: pair(&no_pem, &absent), ..good() }, token("t"), "api.key_file: cannot read "),
        (ApiSettings { identity_files: pair(&no_pem, &no_pem), ..good() }, token("t"), "api.cert_file: "),
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
fn client_debug_is_redacted() {
    let login =
        Credentials::Login { path: "/l".into(), login: "u".into(), password: "s3cret".into(), password_file: None };
    let client = ApiClient::new(&settings("http://h"), login.clone()).unwrap();
    let shown = format!("{login:?} {client:?} {:?}", token("s3cret"));
    assert!(!shown.contains("s3cret"), "{shown}");
}
