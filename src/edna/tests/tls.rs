//! HTTPS with a private CA, mutual TLS, and HTTP/2 where the server offers it.

use std::{
    convert::Infallible,
    fs,
    future::pending,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use futures_util::future::join_all;
use http_body_util::Full;
use hyper::{Request, Response, Version, body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig, crypto::aws_lc_rs, pki_types::PrivatePkcs8KeyDer, server::WebPkiClientVerifier,
};
use tokio::{
    sync::{Barrier, Notify},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::*;
use crate::domain::evidence::{NoAnswer, NotSent};

/// A server for the name `localhost`.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) port: u16,
    /// The CA of its certificate, in PEM form.
    ca: String,
    /// The HTTP versions of the requests, by connection.
    received: Arc<Mutex<Vec<Vec<Version>>>>,
    /// Requests are answered when this many wait.
    barrier: Arc<Barrier>,
    /// Closes HTTP/2 connections gracefully.
    close: Arc<Notify>,
    /// An HTTP/2 connection is closed.
    closed: Arc<Notify>,
    /// The size of an additional response header, if not 0.
    header_bytes: Arc<AtomicUsize>,
}

impl Server {
    pub(super) async fn start(name: &str, alpn: &[&str], concurrency: usize) -> Self {
        Self::with_tls(identity(name, alpn), concurrency).await
    }

    async fn with_tls((tls, ca): (TlsAcceptor, String), concurrency: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let barrier = Arc::new(Barrier::new(concurrency));
        let server = Self {
            port,
            ca,
            received: Arc::default(),
            barrier,
            close: Arc::default(),
            closed: Arc::default(),
            header_bytes: Arc::default(),
        };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (server, handshake) = (serving.clone(), tls.accept(stream));
                tokio::spawn(async move {
                    // A client that does not trust the certificate closes the connection.
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
            let mut received = self.received.lock().unwrap();
            received.push(Vec::new());
            received.len() - 1
        };
        let service = service_fn(|request: Request<Incoming>| {
            self.received.lock().unwrap()[number].push(request.version());
            let barrier = self.barrier.clone();
            let mut response = Response::builder();
            match self.header_bytes.load(Relaxed) {
                0 => {}
                bytes => response = response.header("x-large", "x".repeat(bytes)),
            }
            async move {
                barrier.wait().await;
                Ok::<_, Infallible>(response.body(Full::new(Bytes::from_static(b"{}"))).unwrap())
            }
        });
        let stream = TokioIo::new(stream);
        let close = self.close.notified();
        if is_http2 {
            let mut serving = pin!(conn::http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service));
            tokio::select! {
                _ = &mut serving => {}
                () = close => {
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

    pub(super) fn client_with(&self, change: impl FnOnce(&mut ApiSettings)) -> ApiClient {
        client_with(self.port, Some(&self.ca), change)
    }

    fn received(&self) -> Vec<Vec<Version>> {
        self.received.lock().unwrap().clone()
    }
}

/// A server certificate for the name, and the CA that signed it, in PEM form.
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
    (TlsAcceptor::from(Arc::new(config)), ca.pem())
}

fn client_for(port: u16, ca: Option<&str>) -> ApiClient {
    client_with(port, ca, |_| {})
}

fn client_with(port: u16, ca: Option<&str>, change: impl FnOnce(&mut ApiSettings)) -> ApiClient {
    let file = std::env::temp_dir().join(format!("edna-ca-{}.pem", uuid::Uuid::new_v4()));
    fs::write(&file, ca.unwrap_or_default()).unwrap();
    let http2_keep_alive = Duration::from_millis(200);
    let ca_file = ca.map(|_| file.clone());
    let mut settings = ApiSettings { http2_keep_alive, ca_file, ..settings(format!("https://localhost:{port}")) };
    change(&mut settings);
    let client = ApiClient::new(&settings, token("t0ken")).unwrap();
    fs::remove_file(file).unwrap();
    client
}

#[tokio::test]
async fn ca_file_is_trusted_and_no_other_private_ca() {
    let server = Server::start("localhost", &[], 1).await;
    assert_eq!(send(&server.client()).await, answer(200, b"{}"));
    assert_eq!(send(&client_for(server.port, None)).await, Evidence::NotSent(NotSent::Tls));

    let other = Server::start("elsewhere", &[], 1).await;
    assert_eq!(send(&other.client()).await, Evidence::NotSent(NotSent::Tls), "another name");
    assert_eq!(other.received(), [[]; 0]);
}

/// A server that accepts only clients with a certificate of its own CA, and such a certificate with its key as PEM.
fn mutual_identity() -> ((TlsAcceptor, String), (String, String)) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let sign = |name: &str| {
        let key = KeyPair::generate().unwrap();
        (CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &ca).unwrap(), key)
    };
    let ((server, server_key), (client, client_key)) = (sign("localhost"), sign("client"));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivatePkcs8KeyDer::from(server_key.serialize_der());
    let config = config.with_client_cert_verifier(verifier);
    let config = config.with_single_cert(vec![server.der().clone()], key.into()).unwrap();
    let client = (client.pem(), client_key.serialize_pem());
    ((TlsAcceptor::from(Arc::new(config)), ca.pem()), client)
}

#[tokio::test]
async fn client_certificate_is_presented() {
    let (identity, (cert, key)) = mutual_identity();
    let server = Server::with_tls(identity, 1).await;
    let files = [cert, key].map(|text| {
        let file = std::env::temp_dir().join(format!("edna-identity-{}.pem", uuid::Uuid::new_v4()));
        fs::write(&file, text).unwrap();
        file
    });
    let [cert_file, key_file] = files.clone();
    let client = server.client_with(|settings| settings.identity_files = Some((cert_file, key_file)));
    files.iter().for_each(|file| fs::remove_file(file).unwrap());
    assert_eq!(send(&client).await, answer(200, b"{}"));
    let without = send(&server.client()).await;
    assert!(!matches!(without, Evidence::Answer(_)), "{without:?}");
}

#[tokio::test]
async fn http2_connection_is_shared() {
    let server = Server::start("localhost", &["h2", "http/1.1"], 20).await;
    let client = server.client();
    for _ in 0..2 {
        let answers = join_all((0..20).map(|_| send(&client))).await;
        assert!(answers.iter().all(|evidence| *evidence == answer(200, b"{}")), "{answers:?}");
    }
    assert_eq!(server.received().concat(), vec![Version::HTTP_2; 40]);
    let used = server.received().iter().filter(|requests| !requests.is_empty()).count();
    assert_eq!(used, 1, "{:?}", server.received());
}

#[tokio::test]
async fn http1_connection_serves_one_request_at_a_time() {
    for alpn in [&["http/1.1"][..], &[]] {
        let server = Server::start("localhost", alpn, 20).await;
        let client = server.client();
        for _ in 0..2 {
            let answers = join_all((0..20).map(|_| send(&client))).await;
            assert!(answers.iter().all(|evidence| *evidence == answer(200, b"{}")), "{answers:?}");
        }
        assert_eq!(server.received(), vec![vec![Version::HTTP_11; 2]; 20]);
    }
}

/// HTTP/2 frames: the server's settings with the acknowledgement of the client's, then the reply to the first request.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0];
const NOTHING: &[u8] = &[];
const GOAWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const REFUSED_STREAM: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7];

/// Replies with this frame to a request and closes. Returns the number of requests.
async fn replying(frame: &'static [u8]) -> (ApiClient, Arc<Mutex<usize>>) {
    let (tls, ca) = identity("localhost", &["h2"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, requests) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(0)));
    let counted = requests.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = tls.accept(stream).await.unwrap();
            stream.write_all(SETTINGS).await.unwrap();
            let mut received = Vec::new();
            while !received.windows(9).any(|text| text == b"private\"}")
                && stream.read_buf(&mut received).await.is_ok_and(|count| count > 0)
            {}
            *counted.lock().unwrap() += 1;
            stream.write_all(frame).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    (client_for(port, Some(&ca)), requests)
}

/// The careful side: anything after the request was handed to a connection.
#[tokio::test]
async fn http2_request_that_the_server_refused_is_no_answer() {
    for frame in [NOTHING, GOAWAY, REFUSED_STREAM] {
        let (client, requests) = replying(frame).await;
        assert_eq!(send(&client).await, Evidence::NoAnswer(NoAnswer::Broken), "{frame:?}");
        assert_eq!(*requests.lock().unwrap(), 1, "no retry");
    }
}

#[tokio::test]
async fn http2_status_with_a_large_header_is_an_answer() {
    let server = Server::start("localhost", &["h2"], 1).await;
    server.header_bytes.store(100_000, Relaxed);
    assert_eq!(send(&server.client()).await, answer(200, b"{}"));
}

#[tokio::test]
async fn http2_idle_connection_is_closed_after_its_timeout() {
    let server = Server::start("localhost", &["h2"], 1).await;
    let idle_timeout = Duration::from_millis(100);
    let client = client_with(server.port, Some(&server.ca), |settings| settings.pool_idle_timeout = idle_timeout);
    assert_eq!(send(&client).await, answer(200, b"{}"));
    timeout(Duration::from_secs(10), server.closed.notified()).await.unwrap();
}

#[tokio::test]
async fn http2_connection_to_a_silent_server_is_closed() {
    let (tls, ca) = identity("localhost", &["h2"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(Mutex::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let stream = tls.accept(stream).await.unwrap();
            *counted.lock().unwrap() += 1;
            // Nothing is read from it.
            tokio::spawn(async move {
                let _open = stream;
                pending::<()>().await;
            });
        }
    });
    let client = client_for(port, Some(&ca));
    for expected in 1..=2 {
        assert_eq!(send(&client).await, Evidence::NoAnswer(NoAnswer::Broken), "before the timeout of 5 s");
        assert_eq!(*connections.lock().unwrap(), expected);
    }
}

#[tokio::test]
async fn http2_connection_closed_by_the_server_is_replaced() {
    let server = Server::start("localhost", &["h2"], 1).await;
    let client = server.client();
    for connections in 1..=3 {
        assert_eq!(send(&client).await, answer(200, b"{}"));
        assert_eq!(server.received(), vec![[Version::HTTP_2]; connections]);
        server.close.notify_waiters();
        server.closed.notified().await;
    }
}
