//! Trusted certificates and the client certificate of mutual TLS, from PEM files.

use std::path::Path;

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::{Certificate, Identity};
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::error::{BuildError, IdentityError};
use crate::files::read_small_file;

/// Upper bound for a file of certificates; the bundle of all public CAs is a quarter of it.
const MAX_PEM_BYTES: u32 = 1 << 20;

/// Whether `pem` holds at least one certificate and every one of them can be a trust anchor. A single invalid certificate
/// would make the HTTPS client refuse the whole file.
#[must_use]
pub fn are_certificates(pem: &[u8]) -> bool {
    certificates(pem).is_some()
}

/// Checks that `key` is the private key of the first certificate in `chain`, both in PEM form.
///
/// # Errors
/// [`IdentityError`] names the file that is invalid, without its content.
pub fn check_identity(chain: &[u8], key: &[u8]) -> Result<(), IdentityError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(IdentityError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| IdentityError::Key)?;
    match CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(IdentityError::Mismatch),
        Err(rustls::Error::InvalidCertificate(_)) => Err(IdentityError::Certificate),
        Err(_) => Err(IdentityError::Key),
    }
}

/// The certificates of `api.ca_file`.
pub(super) fn read_authorities(path: &Path) -> Result<Vec<Certificate>, BuildError> {
    let pem = read("api.ca_file", path)?;
    let invalid = || BuildError::CaInvalid { path: path.to_owned() };
    let ders = certificates(pem.as_bytes()).ok_or_else(invalid)?;
    ders.iter().map(|der| Certificate::from_der(der).map_err(|_| invalid())).collect()
}

/// The client certificate of `api.cert_file` and `api.key_file`.
pub(super) fn read_identity(cert_file: &Path, key_file: &Path) -> Result<Identity, BuildError> {
    let (chain, key) = (read("api.cert_file", cert_file)?, read("api.key_file", key_file)?);
    check_identity(chain.as_bytes(), key.as_bytes())?;
    // reqwest takes one text and uses its last key: only what was checked may be in it, as either file may hold more.
    let mut pem = String::new();
    for certificate in CertificateDer::pem_slice_iter(chain.as_bytes()).flatten() {
        pem.push_str(&encode("CERTIFICATE", &certificate));
    }
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| IdentityError::Key)?;
    let label = match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    pem.push_str(&encode(label, key.secret_der()));
    Identity::from_pem(pem.as_bytes()).map_err(|_| IdentityError::Key.into())
}

fn encode(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}

fn read(setting: &'static str, path: &Path) -> Result<String, BuildError> {
    let unreadable = |source| BuildError::Unreadable { setting, path: path.to_owned(), source };
    read_small_file(path, MAX_PEM_BYTES).map_err(unreadable)
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Option<Vec<_>> = CertificateDer::pem_slice_iter(pem).map(|der| trust_anchor(der.ok()?)).collect();
    certificates.filter(|certificates| !certificates.is_empty())
}

fn trust_anchor(der: CertificateDer<'static>) -> Option<CertificateDer<'static>> {
    RootCertStore::empty().add(der.clone()).ok()?;
    Some(der)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey as Generated, generate_simple_self_signed};

    use super::*;

    const VALID: &str = include_str!("tests/ca.pem");
    /// PEM by form, but the content is not a certificate.
    const NOT_DER: &str = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";

    #[test]
    fn ca_file_with_an_invalid_certificate_is_refused() {
        assert_eq!(certificates(VALID.repeat(2).as_bytes()).map(|all| all.len()), Some(2));
        let cut = &VALID[..VALID.len() / 2];
        let key = VALID.replace("CERTIFICATE", "PRIVATE KEY");
        for pem in ["", "hello", NOT_DER, cut, &key, &format!("{VALID}{NOT_DER}")] {
            assert!(!are_certificates(pem.as_bytes()), "{pem}");
        }
    }

    #[test]
    fn identity_must_be_a_certificate_and_its_own_key() {
        let generate = || {
            let Generated { cert, signing_key } = generate_simple_self_signed(["client".to_owned()]).unwrap();
            (cert.pem(), signing_key.serialize_pem())
        };
        let ((cert, key), (_, other_key)) = (generate(), generate());
        for (cert, key, expected) in [
            (&*cert, &*key, Ok(())),
            (&cert, &other_key, Err(IdentityError::Mismatch)),
            ("", &key, Err(IdentityError::Certificate)),
            (NOT_DER, &key, Err(IdentityError::Certificate)),
            (&cert, "", Err(IdentityError::Key)),
            (&cert, &cert, Err(IdentityError::Key)),
            (&cert, "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n", Err(IdentityError::Key)),
        ] {
            assert_eq!(check_identity(cert.as_bytes(), key.as_bytes()), expected, "{cert} {key}");
        }
    }
}
