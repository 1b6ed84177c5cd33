//! Attempts through an HTTP proxy. Real proxies are tested in `tests/it/proxies.rs`.

use tokio::io::copy_bidirectional;

use super::{tls::Server, *};
use crate::domain::evidence::NotSent;

/// How the proxy answers.
#[derive(Clone, Copy)]
enum ProxyReply {
    Forward,
    /// Instead of forwarding.
    Status(&'static str),
}

/// A proxy for CONNECT and absolute-form requests; returns its URL and the heads that it received.
async fn proxy(reply: ProxyReply) -> (String, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, received) = (listener.local_addr().unwrap(), Received::default());
    let log = received.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_proxy(stream, reply, log.clone()));
        }
    });
    (format!("http://{address}"), received)
}

async fn serve_proxy(mut stream: TcpStream, reply: ProxyReply, log: Received) {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap() > 0 {}
    let text = String::from_utf8_lossy(&head).into_owned();
    log.0.lock().unwrap().push(text.clone());
    if let ProxyReply::Status(status) = reply {
        stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.unwrap();
        return;
    }
    let target = text.split(' ').nth(1).unwrap();
    let authority = target.trim_start_matches("http://").split('/').next().unwrap();
    let mut upstream = TcpStream::connect(authority).await.unwrap();
    if text.starts_with("CONNECT ") {
        stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.unwrap();
    } else {
        upstream.write_all(&head).await.unwrap();
    }
    drop(copy_bidirectional(&mut stream, &mut upstream).await);
}

fn through(proxy: &str, base_url: String) -> ApiClient {
    let proxy = Proxy::parse(proxy).unwrap();
    ApiClient::new(&ApiSettings { proxy, ..settings(base_url) }, token("t0ken")).unwrap()
}

fn not_sent(problem: &str) -> Evidence {
    Evidence::NotSent(NotSent::Proxy(problem.into()))
}

#[tokio::test]
async fn proxy_forwards_http_in_absolute_form_with_credentials() {
    let (api, _) = scripted(Reply::Write(b"HTTP/1.1 204 Empty\r\n\r\n".to_vec())).await;
    let (url, received) = proxy(ProxyReply::Forward).await;
    let client = through(&url.replace("//", "//us%40er:pass@"), format!("http://{api}"));
    assert_eq!(send(&client).await, answer(204, b""));
    let request = &received.requests()[0];
    assert!(request.starts_with(&format!("POST http://{api}/api/v1/")), "{request}");
    assert_eq!(headers(request)["proxy-authorization"], ["Basic dXNAZXI6cGFzcw=="]);
}

#[tokio::test]
async fn proxy_tunnels_https_with_credentials() {
    let server = Server::start("localhost", &["h2", "http/1.1"], 1).await;
    let (url, received) = proxy(ProxyReply::Forward).await;
    let proxy = Proxy::parse(&url.replace("//", "//user:pass@")).unwrap();
    let client = server.client_with(|settings| settings.proxy = proxy);
    assert_eq!(send(&client).await, answer(200, b"{}"));
    let connect = &received.requests()[0];
    assert!(connect.starts_with(&format!("CONNECT localhost:{} HTTP/1.1\r\n", server.port)), "{connect}");
    let headers = headers(connect);
    assert_eq!(headers["proxy-authorization"], ["Basic dXNlcjpwYXNz"]);
    assert!(!headers.contains_key("authorization"), "the API's credential is not the proxy's");
}

#[tokio::test]
async fn proxy_that_refuses_the_request_is_not_sent() {
    let required = "407 Proxy Authentication Required";
    for (reply, problem) in [(required, "proxy authorization required"), ("502 Bad Gateway", "unsuccessful")] {
        let (url, _) = proxy(ProxyReply::Status(reply)).await;
        let evidence = send(&through(&url, "https://localhost:1".to_owned())).await;
        assert_eq!(evidence, not_sent(&format!("{url}: tunnel error: {problem}")));
    }
    let (url, _) = proxy(ProxyReply::Status(required)).await;
    let evidence = send(&through(&url, "http://localhost:1".to_owned())).await;
    assert_eq!(evidence, not_sent(&format!("{url}: proxy authorization required")));
}

#[tokio::test]
async fn proxy_that_is_down_is_not_sent_and_named() {
    let (refused, _socket) = refusing();
    for scheme in ["http", "socks5", "socks5h"] {
        for api in ["http", "https"] {
            let proxy = format!("{scheme}://user:s3cret@{refused}");
            let evidence = send(&through(&proxy, format!("{api}://127.0.0.1:1"))).await;
            let Evidence::NotSent(NotSent::Proxy(problem)) = evidence else { panic!("{evidence:?}") };
            assert!(problem.starts_with(&format!("{scheme}://{refused}: ")), "{problem}");
            assert!(!problem.contains("s3cret"), "{problem}");
        }
    }
}

/// Only its own HTTP proxy can send a status in place of the API: here it is the API's.
#[tokio::test]
async fn status_407_from_the_api_is_an_answer() {
    let (api, _) = scripted(Reply::Write(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n".to_vec())).await;
    assert_eq!(send(&client(api)).await, answer(407, b""));
}

#[tokio::test]
async fn status_502_from_a_proxy_over_http_is_an_answer() {
    let (url, _) = proxy(ProxyReply::Status("502 Bad Gateway")).await;
    assert_eq!(send(&through(&url, "http://localhost:1".to_owned())).await, answer(502, b""));
}
