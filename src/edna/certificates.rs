//! The certificates of `api.ca_file`.

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Whether these bytes are certificates in PEM form that can be trusted, at least one and each of them sound: one that
/// cannot be read would make the HTTPS client refuse them all.
#[must_use]
pub fn are_certificates(pem: &[u8]) -> bool {
    parse(pem).is_some()
}

pub(super) fn parse(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Option<Vec<_>> = CertificateDer::pem_slice_iter(pem).map(|der| sound(der.ok()?)).collect();
    certificates.filter(|certificates| !certificates.is_empty())
}

fn sound(der: CertificateDer<'static>) -> Option<CertificateDer<'static>> {
    RootCertStore::empty().add(der.clone()).ok()?;
    Some(der)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = include_str!("tests/ca.pem");
    /// PEM in form, no certificate in substance.
    const HOLLOW: &str = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";

    #[test]
    fn each_one_must_be_sound_and_one_must_be_there() {
        assert_eq!(parse(SOUND.repeat(2).as_bytes()).map(|all| all.len()), Some(2));
        let cut = &SOUND[..SOUND.len() / 2];
        let key = SOUND.replace("CERTIFICATE", "PRIVATE KEY");
        for pem in ["", "hello", HOLLOW, cut, &key, &format!("{SOUND}{HOLLOW}")] {
            assert!(!are_certificates(pem.as_bytes()), "{pem}");
        }
    }
}
