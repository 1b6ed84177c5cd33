//! HTTPS in front of the sandbox: terminates TLS and forwards the bytes.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig, crypto::aws_lc_rs, pki_types::PrivatePkcs8KeyDer, server::WebPkiClientVerifier,
    },
};

use super::TempDir;

/// A TLS front for the name `localhost` that accepts only clients with a certificate of its CA.
pub(crate) struct TlsFront {
    pub(crate) port: u16,
    /// PEM files: the CA, and a client certificate with its key.
    pub(crate) ca_file: PathBuf,
    pub(crate) cert_file: PathBuf,
    pub(crate) key_file: PathBuf,
    accepting: JoinHandle<()>,
    _dir: TempDir,
}

impl TlsFront {
    pub(crate) async fn before(upstream: SocketAddr) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
        let sign = |name: &str| {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new([name.to_owned()]).expect("a name");
            (params.signed_by(&key, &ca).expect("signed"), key)
        };
        let ((server, server_key), (client, client_key)) = (sign("localhost"), sign("client"));
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone()).expect("a CA");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_client_cert_verifier(verifier.expect("a verifier"));
        let key = PrivatePkcs8KeyDer::from(server_key.serialize_der());
        let config = config.with_single_cert(vec![server.der().clone()], key.into()).expect("a certificate");

        let dir = TempDir::new("edna-courier-tls");
        let file = |name: &str, text: String| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let ca_file = file("ca.pem", ca.pem());
        let (cert_file, key_file) = (file("client.crt", client.pem()), file("client.key", client_key.serialize_pem()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let accepting = tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), upstream));
        Self { port, ca_file, cert_file, key_file, accepting, _dir: dir }
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, upstream: SocketAddr) {
    while let Ok((stream, _)) = listener.accept().await {
        let tls = tls.clone();
        tokio::spawn(async move {
            let Ok(mut stream) = tls.accept(stream).await else { return };
            let mut api = TcpStream::connect(upstream).await.expect("the sandbox listens");
            drop(copy_bidirectional(&mut stream, &mut api).await);
        });
    }
}
