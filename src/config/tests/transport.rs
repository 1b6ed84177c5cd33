//! Settings of the connection to the API: proxy and client certificate.

use rcgen::{CertifiedKey, generate_simple_self_signed};

use super::*;
use crate::edna::Proxy;

#[test]
fn proxy_is_the_environments_unless_it_is_set() {
    let proxy = |value: &str| load(&[("API__PROXY", value)]).unwrap().api.proxy;
    assert!(matches!(load(&[]).unwrap().api.proxy, Proxy::Environment));
    assert!(matches!(proxy("none"), Proxy::Disabled));
    assert_eq!(proxy("socks5h://user:s3cret@proxy").to_string(), "socks5h://proxy:1080");
}

#[test]
fn proxy_that_is_not_a_proxy_url_is_a_mistake() {
    for value in ["proxy:3128", "ftp://proxy", "http://", "http://user:s3cret/x@proxy:1", "http://proxy:0", "direct"] {
        let [mistake] = mistakes(load(&[("API__PROXY", value)])).try_into().unwrap();
        assert!(mistake.starts_with("api.proxy (environment variable EDNA_COURIER__API__PROXY): "), "{mistake}");
        assert!(!mistake.contains("s3cret"), "{mistake}");
    }
}

#[test]
fn client_certificate_must_be_a_pair() {
    let dir = TempDir::new();
    let pair = |name: &str| {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
        (dir.file(&format!("{name}.crt"), &cert.pem()), dir.file(&format!("{name}.key"), &signing_key.serialize_pem()))
    };
    let ((cert, key), (_, other_key)) = (pair("a"), pair("b"));
    let (absent, text) = (dir.0.join("absent").display().to_string(), dir.file("text", "hello"));
    let files = |cert: &str, key: &str| load(&[("API__CERT_FILE", cert), ("API__KEY_FILE", key)]);
    assert_eq!(files(&cert, &key).unwrap().api.identity_files, Some((cert.clone().into(), key.clone().into())));
    assert_eq!(load(&[]).unwrap().api.identity_files, None);
    for (cert, key, start) in [
        (&*cert, "", "api.key_file: is missing"),
        ("", &key, "api.cert_file: is missing"),
        (&cert, &other_key, "api.key_file (environment variable EDNA_COURIER__API__KEY_FILE): is not the key of"),
        (&text, &key, "api.cert_file = "),
        (&cert, &text, "api.key_file = "),
        (&absent, &key, "api.cert_file = "),
    ] {
        let [mistake] = mistakes(files(cert, key)).try_into().unwrap();
        assert!(mistake.starts_with(start), "{mistake}");
    }
}
