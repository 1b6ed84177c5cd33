//! Checks that files hold certificates or a key that fits, with the parsers that read them later.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::reader::Reader;
use crate::edna::{self, IdentityError};

/// Reads a client certificate with its chain, and its private key. `None` if neither is set, or after a mistake.
pub(super) fn identity(reader: &mut Reader, cert_setting: &str, key_setting: &str) -> Option<(String, String)> {
    let is_missing = format!("is missing: {cert_setting} and {key_setting} go together");
    match (reader.is_set(cert_setting), reader.is_set(key_setting)) {
        (true, false) => reader.mistake(key_setting, is_missing),
        (false, true) => reader.mistake(cert_setting, is_missing),
        _ => {}
    }
    let cert = reader.file(cert_setting, certificates);
    let key = reader.file(key_setting, key);
    let (cert, key) = (cert?, key?);
    match edna::check_identity(cert.as_bytes(), key.as_bytes()) {
        Ok(()) => return Some((cert, key)),
        Err(error @ IdentityError::Certificate) => reader.mistake(cert_setting, error.to_string()),
        Err(error @ (IdentityError::Key | IdentityError::Mismatch)) => reader.mistake(key_setting, error.to_string()),
    }
    None
}

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
