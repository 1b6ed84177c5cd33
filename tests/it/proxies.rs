//! The daemon behind real proxies, with mutual TLS at the API.

use crate::support::{
    proxy_server::{PASSWORD, ProxyServer},
    stage::{Stage, start_ready},
    tls::TlsFront,
};

#[tokio::test]
async fn proxies_with_credentials_reach_the_api() {
    let stage = Stage::new("proxies").await;
    let front = TlsFront::before(stage.sandbox.addr()).await;
    for proxy in [ProxyServer::http().await, ProxyServer::socks().await].into_iter().flatten() {
        for base_url in [format!("http://{}", stage.sandbox.addr()), format!("https://localhost:{}", front.port)] {
            let setup = stage.setup().set("api.proxy", &proxy.url()).set("api.base_url", &base_url);
            let setup = setup
                .set("api.ca_file", &front.ca_file.display().to_string())
                .set("api.cert_file", &front.cert_file.display().to_string())
                .set("api.key_file", &front.key_file.display().to_string());
            let daemon = start_ready(&setup).await;
            stage.send(3, "hello").await;
            stage.expect_success_of_all(3).await;
            stage.end(&daemon).await;
            assert!(!daemon.log_text().contains(PASSWORD), "the log shows the proxy's password");
        }
    }
}

#[tokio::test]
async fn proxy_that_wants_credentials_is_not_sent() {
    let stage = Stage::new("proxy-refuses").await;
    let front = TlsFront::before(stage.sandbox.addr()).await;
    for proxy in [ProxyServer::http().await, ProxyServer::socks().await].into_iter().flatten() {
        for base_url in [format!("http://{}", stage.sandbox.addr()), format!("https://localhost:{}", front.port)] {
            let setup = stage.setup().set("api.proxy", &proxy.origin()).set("api.base_url", &base_url);
            let daemon = start_ready(&setup.set("delivery.max_attempts", "1").set("journal.kind", "none")).await;
            stage.send(1, "hello").await;
            let event = stage.queues.events(1).await.swap_remove(0);
            assert_eq!((&event["outcome"], &event["possibleDuplicate"]), (&"failed".into(), &false.into()), "{event}");
            let detail = event["failure"]["detail"].as_str().expect("a detail");
            assert!(detail.contains(&format!("through the proxy {}", proxy.origin())), "{detail}");
            stage.end(&daemon).await;
        }
    }
    assert_eq!(stage.posts(), 0);
}

#[tokio::test]
async fn proxy_of_the_environment_applies_unless_disabled() {
    let stage = Stage::new("proxy-environment").await;
    let Some(proxy) = ProxyServer::http().await else { return };
    let base = || stage.setup().set("api.proxy", "").env("HTTP_PROXY", &proxy.url()).env("NO_PROXY", "");
    let refused = || base().env("HTTP_PROXY", "http://127.0.0.1:1");
    for setup in [base(), refused().env("NO_PROXY", "localhost,127.0.0.1"), refused().set("api.proxy", "none")] {
        let daemon = start_ready(&setup).await;
        stage.send(1, "hello").await;
        stage.expect_success_of_all(1).await;
        stage.end(&daemon).await;
    }
    let setup = refused().set("delivery.max_attempts", "1").set("journal.kind", "none");
    let daemon = start_ready(&setup).await;
    stage.send(1, "hello").await;
    assert_eq!(stage.queues.events(1).await[0]["failure"]["reason"], "exhausted");
    stage.end(&daemon).await;
}
