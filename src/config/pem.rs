//! What must stand in files with certificates and keys, by the parsers that read them later.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::edna;

/// Certificates to trust.
pub(super) fn authorities(pem: &str) -> Result<(), String> {
    must(edna::are_certificates(pem.as_bytes()), "holds no PEM certificate, or a broken one; name the CA's PEM file")
}

/// The client's certificate and those that vouch for it.
pub(super) fn certificates(pem: &str) -> Result<(), String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = certificates.is_ok_and(|certificates| !certificates.is_empty());
    must(found, "holds no PEM certificate; name the client certificate's PEM file")
}

/// The client certificate's key.
pub(super) fn key(pem: &str) -> Result<(), String> {
    let found = PrivateKeyDer::from_pem_slice(pem.as_bytes()).is_ok();
    must(found, "holds no PEM private key, or an encrypted one; name the key's PEM file, without a passphrase")
}

fn must(holds: bool, problem: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(problem.to_owned()) }
}
