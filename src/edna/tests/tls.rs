//! HTTPS against a server with a CA of its own, and HTTP/2 where it offers that.

use std::{convert::Infallible, fs, future::pending, pin::pin};

use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::future::join_all;
use http_body_util::Full;
use hyper::{Request, Response, Version, body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivatePkcs8KeyDer};
use tokio::{
    sync::{Barrier, Notify},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::*;
use crate::domain::evidence::{NoAnswer, NotSent};

/// A server for the name `localhost`.
#[derive(Clone)]
struct Server {
    port: u16,
    /// Whom to trust for it.
    ca: String,
    /// By connection, the versions of its requests.
    seen: Arc<Mutex<Vec<Vec<Version>>>>,
    /// Requests are answered when so many wait together.
    together: Arc<Barrier>,
    /// Connections are to close when they are idle.
    closing: Arc<Notify>,
    /// One of HTTP/2 is closed.
    closed: Arc<Notify>,
}

impl Server {
    async fn start(name: &str, alpn: &[&str], together: usize) -> Self {
        let (tls, ca) = identity(name, alpn);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let together = Arc::new(Barrier::new(together));
        let server = Self { port, ca, seen: Arc::default(), together, closing: Arc::default(), closed: Arc::default() };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (server, handshake) = (serving.clone(), tls.accept(stream));
                tokio::spawn(async move {
                    // A client that does not trust us goes, which is its right.
                    if let Ok(stream) = handshake.await {
                        server.serve(stream).await;
                    }
                });
            }
        });
        server
    }

    async fn serve(self, stream: TlsStream<TcpStream>) {
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let number = {
            let mut seen = self.seen.lock().unwrap();
            seen.push(Vec::new());
            seen.len() - 1
        };
        let service = service_fn(|request: Request<Incoming>| {
            self.seen.lock().unwrap()[number].push(request.version());
            let together = self.together.clone();
            async move {
                together.wait().await;
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"{}"))))
            }
        });
        let stream = TokioIo::new(stream);
        let closing = self.closing.notified();
        if is_http2 {
            let mut serving = pin!(conn::http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service));
            tokio::select! {
                _ = &mut serving => {}
                () = closing => {
                    serving.as_mut().graceful_shutdown();
                    drop(serving.await);
                }
            }
            self.closed.notify_one();
        } else {
            drop(conn::http1::Builder::new().serve_connection(stream, service).await);
        }
    }

    fn client(&self) -> ApiClient {
        client_for(self.port, Some(&self.ca))
    }

    fn seen(&self) -> Vec<Vec<Version>> {
        self.seen.lock().unwrap().clone()
    }
}

/// A certificate for the name, and the CA that signed it, in PEM form.
fn identity(name: &str, alpn: &[&str]) -> (TlsAcceptor, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = config.with_single_cert(vec![leaf.der().clone()], key.into()).unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64_STANDARD.encode(ca.der()));
    (TlsAcceptor::from(Arc::new(config)), pem)
}

fn client_for(port: u16, ca: Option<&str>) -> ApiClient {
    client_with(port, ca, |_| {})
}

fn client_with(port: u16, ca: Option<&str>, change: impl FnOnce(&mut ApiSettings)) -> ApiClient {
    let file = std::env::temp_dir().join(format!("edna-ca-{}.pem", uuid::Uuid::new_v4()));
    fs::write(&file, ca.unwrap_or_default()).unwrap();
    let alive_within = Duration::from_millis(200);
    let ca_file = ca.map(|_| file.clone());
    let mut settings = ApiSettings { alive_within, ca_file, ..settings(format!("https://localhost:{port}")) };
    change(&mut settings);
    let client = ApiClient::new(&settings, token("t0ken")).unwrap();
    fs::remove_file(file).unwrap();
    client
}

#[tokio::test]
async fn the_cas_of_the_file_are_trusted_and_no_others() {
    let server = Server::start("localhost", &[], 1).await;
    assert_eq!(send(&server.client()).await, answer(200, b"{}"));
    assert_eq!(send(&client_for(server.port, None)).await, Evidence::NotSent(NotSent::Tls));

    let other = Server::start("elsewhere", &[], 1).await;
    assert_eq!(send(&other.client()).await, Evidence::NotSent(NotSent::Tls), "another name");
    assert_eq!(other.seen(), [[]; 0]);
}

#[tokio::test]
async fn where_http2_is_offered_connections_are_shared() {
    let server = Server::start("localhost", &["h2", "http/1.1"], 20).await;
    let client = server.client();
    for _ in 0..2 {
        let answers = join_all((0..20).map(|_| send(&client))).await;
        assert!(answers.iter().all(|evidence| *evidence == answer(200, b"{}")), "{answers:?}");
    }
    assert_eq!(server.seen().concat(), vec![Version::HTTP_2; 40]);
    let used = server.seen().iter().filter(|requests| !requests.is_empty()).count();
    assert_eq!(used, 1, "{:?}", server.seen());
}

#[tokio::test]
async fn a_shared_connection_has_a_hundred_requests_at_once() {
    let server = Server::start("localhost", &["h2"], 150).await;
    let client = server.client();
    for _ in 0..2 {
        let answers = join_all((0..150).map(|_| send(&client))).await;
        assert!(answers.iter().all(|evidence| *evidence == answer(200, b"{}")), "{answers:?}");
    }
    let used: Vec<_> = server.seen().iter().map(Vec::len).collect();
    assert_eq!(used, [200, 100]);
}

#[tokio::test]
async fn where_it_is_not_each_has_a_connection_that_serves_again() {
    for alpn in [&["http/1.1"][..], &[]] {
        let server = Server::start("localhost", alpn, 20).await;
        let client = server.client();
        for _ in 0..2 {
            let answers = join_all((0..20).map(|_| send(&client))).await;
            assert!(answers.iter().all(|evidence| *evidence == answer(200, b"{}")), "{answers:?}");
        }
        assert_eq!(server.seen(), vec![vec![Version::HTTP_11; 2]; 20]);
    }
}

/// Frames of HTTP/2: settings and their acknowledgement; gone, having taken none or one; the first request refused, or
/// answered; the second refused.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0];
const NOTHING: &[u8] = &[];
const GONE: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const GONE_AFTER_THE_FIRST: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
const REFUSED: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7];
const ANSWERED: &[u8] = &[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88];
const SECOND_REFUSED: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 3, 0, 0, 0, 7];

/// Answers the requests of each connection with these frames in turn; stays open, or closes then. Tells how many came.
async fn frames(frames: &'static [&'static [u8]], stays: bool) -> (ApiClient, Arc<Mutex<usize>>) {
    let (tls, ca) = identity("localhost", &["h2"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, requests) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(0)));
    let counted = requests.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (mut stream, counted) = (tls.accept(stream).await.unwrap(), counted.clone());
            tokio::spawn(async move {
                stream.write_all(SETTINGS).await.unwrap();
                for answer in frames {
                    let mut seen = Vec::new();
                    while !seen.windows(9).any(|text| text == b"private\"}")
                        && stream.read_buf(&mut seen).await.is_ok_and(|count| count > 0)
                    {}
                    *counted.lock().unwrap() += 1;
                    stream.write_all(answer).await.unwrap();
                }
                if stays {
                    pending::<()>().await;
                }
                stream.shutdown().await.unwrap();
            });
        }
    });
    (client_for(port, Some(&ca)), requests)
}

#[tokio::test]
async fn a_request_that_the_peer_did_not_look_at_was_not_sent() {
    for unseen in [&[GONE][..], &[REFUSED]] {
        let (client, requests) = frames(unseen, false).await;
        assert_eq!(send(&client).await, Evidence::NotSent(NotSent::Connect), "{unseen:?}");
        assert_eq!(*requests.lock().unwrap(), 1);
    }
    for taken in [&[NOTHING][..], &[GONE_AFTER_THE_FIRST]] {
        let (client, requests) = frames(taken, false).await;
        assert_eq!(send(&client).await, Evidence::NoAnswer(NoAnswer::Broken), "{taken:?}");
        assert_eq!(*requests.lock().unwrap(), 1);
    }
}

#[tokio::test]
async fn a_request_that_a_used_connection_refuses_goes_by_another() {
    let (client, requests) = frames(&[ANSWERED, SECOND_REFUSED], true).await;
    for expected in [1, 3] {
        assert_eq!(send(&client).await, answer(200, b""));
        assert_eq!(*requests.lock().unwrap(), expected);
    }
}

#[tokio::test]
async fn a_shared_connection_that_was_unused_for_too_long_is_not_used() {
    let server = Server::start("localhost", &["h2"], 1).await;
    let client = client_with(server.port, Some(&server.ca), |settings| settings.pool_idle_timeout = Duration::ZERO);
    for _ in 0..2 {
        assert_eq!(send(&client).await, answer(200, b"{}"));
    }
    assert_eq!(server.seen(), [[Version::HTTP_2], [Version::HTTP_2]]);
}

#[tokio::test]
async fn a_shared_connection_that_was_unused_for_too_long_is_closed_though_no_request_follows() {
    let server = Server::start("localhost", &["h2"], 1).await;
    let idle_timeout = Duration::from_millis(100);
    let client = client_with(server.port, Some(&server.ca), |settings| settings.pool_idle_timeout = idle_timeout);
    assert_eq!(send(&client).await, answer(200, b"{}"));
    timeout(Duration::from_secs(10), server.closed.notified()).await.unwrap();
}

/// A backend that hangs keeps its connection open: with HTTP/1.1 the attempt that times out ends it.
#[tokio::test]
async fn a_shared_connection_whose_peer_is_silent_is_given_up() {
    let (tls, ca) = identity("localhost", &["h2"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(Mutex::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let stream = tls.accept(stream).await.unwrap();
            *counted.lock().unwrap() += 1;
            // Whatever comes is never read.
            tokio::spawn(async move {
                let _open = stream;
                pending::<()>().await;
            });
        }
    });
    let client = client_for(port, Some(&ca));
    for expected in 1..=2 {
        assert_eq!(send(&client).await, Evidence::NoAnswer(NoAnswer::Broken), "before the time-out of 5 s");
        assert_eq!(*connections.lock().unwrap(), expected);
    }
}

#[tokio::test]
async fn a_shared_connection_that_the_peer_closes_is_replaced() {
    let server = Server::start("localhost", &["h2"], 1).await;
    let client = server.client();
    for connections in 1..=3 {
        assert_eq!(send(&client).await, answer(200, b"{}"));
        assert_eq!(server.seen(), vec![[Version::HTTP_2]; connections]);
        server.closing.notify_waiters();
        server.closed.notified().await;
    }
}
