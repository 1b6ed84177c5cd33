//! The daemon behind real proxies, with mutual TLS at the API.

use crate::support::{
    fixture::{Fixture, start_ready},
    proxy_server::{PASSWORD, ProxyServer},
    tls::TlsFront,
};

#[tokio::test]
async fn proxies_with_credentials_reach_the_api() {
    let fixture = Fixture::new("proxies").await;
    let front = TlsFront::before(fixture.sandbox.addr()).await;
    for proxy in [ProxyServer::http().await, ProxyServer::socks().await].into_iter().flatten() {
        for base_url in [format!("http://{}", fixture.sandbox.addr()), format!("https://localhost:{}", front.port)] {
            let builder = fixture.builder().set("api.proxy", &proxy.url()).set("api.base_url", &base_url);
            let builder = builder
                .set("api.ca_file", &front.ca_file.display().to_string())
                .set("api.cert_file", &front.cert_file.display().to_string())
                .set("api.key_file", &front.key_file.display().to_string());
            let (daemon, logged) = (start_ready(&builder).await, proxy.log_bytes());
            fixture.send(3, "hello").await;
            fixture.expect_all_succeeded(3).await;
            assert!(proxy.log_bytes() > logged, "{} was not used", proxy.origin());
            fixture.drain(&daemon).await;
            let log = daemon.log_text();
            assert!(log.contains(&format!("API requests use the proxy {}", proxy.origin())), "{log}");
            assert!(!log.contains(PASSWORD), "the log shows the proxy's password");
        }
    }
}

#[tokio::test]
async fn proxy_without_credentials_is_not_sent() {
    let fixture = Fixture::new("proxy-refuses").await;
    let front = TlsFront::before(fixture.sandbox.addr()).await;
    for proxy in [ProxyServer::http().await, ProxyServer::socks().await].into_iter().flatten() {
        for base_url in [format!("http://{}", fixture.sandbox.addr()), format!("https://localhost:{}", front.port)] {
            let builder = fixture.builder().set("api.proxy", &proxy.origin()).set("api.base_url", &base_url);
            let daemon = start_ready(&builder.set("delivery.max_attempts", "1").set("journal.kind", "none")).await;
            fixture.send(1, "hello").await;
            let event = fixture.queues.events(1).await.swap_remove(0);
            assert_eq!((&event["outcome"], &event["possibleDuplicate"]), (&"failed".into(), &false.into()), "{event}");
            let detail = event["failure"]["detail"].as_str().expect("a detail");
            assert!(detail.contains(&format!("through the proxy {}", proxy.origin())), "{detail}");
            fixture.drain(&daemon).await;
        }
    }
    assert_eq!(fixture.posts(), 0);
}

#[tokio::test]
async fn proxy_of_the_environment_applies_unless_disabled() {
    let fixture = Fixture::new("proxy-environment").await;
    let Some(proxy) = ProxyServer::http().await else { return };
    let base = || fixture.builder().set("api.proxy", "").env("HTTP_PROXY", &proxy.url()).env("NO_PROXY", "");
    let refused = || base().env("HTTP_PROXY", "http://127.0.0.1:1");
    for (builder, is_used) in [
        (base(), true),
        (refused().env("NO_PROXY", "localhost,127.0.0.1"), false),
        (refused().set("api.proxy", "none"), false),
    ] {
        let (daemon, logged) = (start_ready(&builder).await, proxy.log_bytes());
        fixture.send(1, "hello").await;
        fixture.expect_all_succeeded(1).await;
        assert_eq!(proxy.log_bytes() > logged, is_used);
        fixture.drain(&daemon).await;
    }
    let builder = refused().set("delivery.max_attempts", "1").set("journal.kind", "none");
    let daemon = start_ready(&builder).await;
    fixture.send(1, "hello").await;
    assert_eq!(fixture.queues.events(1).await[0]["failure"]["reason"], "exhausted");
    fixture.drain(&daemon).await;
}
