//! A system without CA certificates.

use std::{env, process::Command};

use super::*;

/// In the child process. Its variables name no CA certificates, and a process cannot change its own safely.
const CHILD: &str = "EDNA_COURIER_TEST_CHILD";
const THIS_TEST: &str = "edna::tests::authorities::api_without_tls_needs_no_system_certificates";

#[test]
fn api_without_tls_needs_no_system_certificates() {
    if env::var_os(CHILD).is_none() {
        let mut child = Command::new(env::current_exe().unwrap());
        child
            .args(["--exact", THIS_TEST])
            .env(CHILD, "1")
            .env("SSL_CERT_FILE", "/absent")
            .env("SSL_CERT_DIR", "/absent");
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let build = |base_url: &str, proxy: &str| {
        let proxy = Proxy::parse(proxy).unwrap();
        let built = ApiClient::new(&ApiSettings { proxy, ..settings(base_url) }, token("t"));
        built.map(drop).map_err(|error| error.to_string())
    };
    for (base_url, proxy, is_built) in [
        ("http://h", "none", true),
        ("HTTP://h", "http://proxy", true),
        ("https://h", "none", false),
        ("HTTPS://h", "none", false),
        ("http://h", "https://proxy", false),
    ] {
        let built = build(base_url, proxy);
        assert_eq!(built.is_ok(), is_built, "{base_url} {proxy}: {built:?}");
        let names_remedy = |error: String| error.contains("check that the system's CA certificates are installed");
        assert!(built.err().is_none_or(names_remedy));
    }
}
