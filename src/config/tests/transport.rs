//! Settings of connections: URLs with credentials, proxies and client certificates.

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

/// Loads with variables of the environment that are not settings of their own.
fn load_among(variables: &[(&str, &str)], settings: &[(&str, &str)]) -> Result<Config, Mistakes> {
    let mut sources = sources(None, &[&MINIMAL, settings].concat());
    sources.environment.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Config::load(&sources)
}

#[test]
fn proxy_variable_that_is_invalid_is_named() {
    let https = [("API__BASE_URL", "https://h")];
    for (settings, variables, name) in [
        (&[][..], &[("HTTP_PROXY", "http://user:s3/cret@proxy:3128")][..], "HTTP_PROXY"),
        (&[], &[("http_proxy", "http://user:s3[cret@proxy:3128")], "http_proxy"),
        (&[], &[("ALL_PROXY", "ftp://s3cret")], "ALL_PROXY"),
        (&https, &[("HTTPS_PROXY", "http://s3cret:99999"), ("ALL_PROXY", "http://proxy")], "HTTPS_PROXY"),
        (&https, &[("HTTPS_PROXY", ""), ("https_proxy", "a"), ("all_proxy", "http://")], "all_proxy"),
        (&https, &[("HTTPS_PROXY", "s3 cret")], "HTTPS_PROXY"),
    ] {
        let [mistake] = mistakes(load_among(variables, settings)).try_into().unwrap();
        assert!(mistake.starts_with(&format!("{name}: ")) && mistake.contains("or set api.proxy"), "{mistake}");
        assert!(!mistake.contains("s3") && !mistake.contains("cret"), "{mistake}");
    }
}

#[test]
fn proxy_variable_that_is_valid_or_not_used_is_no_mistake() {
    let invalid = [("HTTP_PROXY", "ftp://proxy")];
    for (settings, variables) in [
        (&[][..], &[("HTTP_PROXY", "proxy:3128")][..]),
        (&[], &[("HTTP_PROXY", "socks4://user:pass@[::1]:1080/any")]),
        (&[], &[("HTTPS_PROXY", "ftp://proxy")]),
        (&[], &[("HTTP_PROXY", "http://proxy"), ("ALL_PROXY", "ftp://proxy")]),
        (&[("API__BASE_URL", "https://h")], &invalid),
        (&[("API__PROXY", "none")], &invalid),
        (&[("API__PROXY", "http://proxy")], &invalid),
    ] {
        assert!(load_among(variables, settings).is_ok(), "{settings:?} {variables:?}");
    }
}

#[test]
fn url_credentials_not_encoded_are_hinted_at_and_not_shown() {
    let dir = TempDir::new();
    let passwords = ["s3[cret", "s3]cret", "s3/cret", "12/cret", "s3@cret", "s3#cret", "s3?cret", "s3%cret", "s3 cret"];
    for (name, scheme) in [
        ("BROKER__URL", "amqp"),
        ("BROKER__URL", "amqps"),
        ("BROKER__MANAGEMENT_URL", "http"),
        ("API__PROXY", "socks5"),
        ("JOURNAL__REDIS_URL", "redis"),
        ("JOURNAL__REDIS_URL", "rediss+cluster"),
    ] {
        for url in passwords.map(|password| format!("{scheme}://user:{password}@host")) {
            let (file, file_name) = (dir.file("url", &url), format!("{name}_FILE"));
            for (name, value) in [(name, &url), (&*file_name, &file)] {
                let [mistake] = mistakes(load(&[(name, value)])).try_into().unwrap();
                let path = name.to_lowercase().replace("__", ".");
                assert!(mistake.starts_with(&path) && mistake.contains("write %25 for %"), "{url}: {mistake}");
                assert!(!mistake.contains("s3") && !mistake.contains("cret"), "{url}: {mistake}");
            }
        }
    }
    for url in passwords.map(|password| format!("http://user:{password}@host")) {
        let [mistake] = mistakes(load(&[("API__BASE_URL", &url)])).try_into().unwrap();
        assert!(mistake.contains("holds a user or password; use api.login and api.password"), "{mistake}");
        assert!(!mistake.contains("s3") && !mistake.contains("cret"), "{mistake}");
    }
}

#[test]
fn broker_url_with_a_comma_in_the_password_shows_nothing() {
    for password in ["s3,cret", "12,cret", "s3,cret,s3"] {
        let reported = mistakes(load(&[("BROKER__URL", &format!("amqp://user:{password}@host"))]));
        assert!(reported.iter().all(|mistake| mistake.contains("%2C for a comma")), "{reported:?}");
        assert!(!reported.concat().contains("cret"), "{reported:?}");
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
    let no_key = dir.file("no.key", "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n");
    for section in ["api", "broker"] {
        let [cert_name, key_name] = ["CERT", "KEY"].map(|file| format!("{}__{file}_FILE", section.to_uppercase()));
        let files = |cert: &str, key: &str| load(&[(&cert_name, cert), (&key_name, key)]);
        let config = files(&cert, &key).unwrap();
        let found = (config.api.identity_files, config.broker.tls.identity.is_some());
        let expected = (section == "api").then(|| (cert.clone().into(), key.clone().into()));
        assert_eq!(found, (expected, section == "broker"));
        let variable = format!(" (environment variable EDNA_COURIER__{key_name}): ");
        for (cert, key, start) in [
            (&*cert, "", ".key_file: is missing"),
            ("", &key, ".cert_file: is missing"),
            (&cert, &other_key, &*format!(".key_file{variable}is not the key of the certificate")),
            (&cert, &no_key, &format!(".key_file{variable}holds no valid PEM private key")),
            (&text, &key, ".cert_file = "),
            (&cert, &text, ".key_file = "),
            (&absent, &key, ".cert_file = "),
            (&cert, &absent, ".key_file = "),
        ] {
            let [mistake] = mistakes(files(cert, key)).try_into().unwrap();
            assert!(mistake.starts_with(&format!("{section}{start}")), "{mistake}");
        }
    }
}
