//! Checks that a file holds certificates or a key, with the parsers that read it later.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::edna;

/// Accepts certificates of authorities to trust.
pub(super) fn authorities(pem: &str) -> Result<(), String> {
    check(edna::are_certificates(pem.as_bytes()), "holds no PEM certificate, or a broken one; name the CA's PEM file")
}

/// Accepts a client certificate and its chain.
pub(super) fn certificates(pem: &str) -> Result<(), String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = certificates.is_ok_and(|certificates| !certificates.is_empty());
    check(found, "holds no PEM certificate; name the client certificate's PEM file")
}

/// Accepts the private key of a client certificate.
pub(super) fn key(pem: &str) -> Result<(), String> {
    let found = PrivateKeyDer::from_pem_slice(pem.as_bytes()).is_ok();
    check(found, "holds no PEM private key, or an encrypted one; name the key's PEM file, without a passphrase")
}

fn check(holds: bool, problem: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(problem.to_owned()) }
}
