//! The evidence of every way an attempt can end.

use super::*;
use crate::domain::evidence::{NoAnswer, NotSent};

async fn evidence_of(reply: Reply) -> Evidence {
    let (address, _) = scripted(reply).await;
    send(&client(address)).await
}

fn write(text: &str) -> Reply {
    Reply::Write(text.as_bytes().to_vec())
}

#[tokio::test]
async fn response_is_an_answer_with_its_body() {
    let ok = write("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{\"id\":1}");
    assert_eq!(evidence_of(ok).await, answer(200, b"{\"id\":1}"));
    let bad = write("HTTP/1.1 422 No\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n");
    assert_eq!(evidence_of(bad).await, answer(422, b"no"));
    assert_eq!(evidence_of(write("HTTP/1.1 204 Empty\r\n\r\n")).await, answer(204, b""));
}

#[tokio::test]
async fn request_has_one_bearer_prefix_and_no_extra_headers() {
    for given in ["t0ken", "Bearer t0ken", "bearer t0ken", "Bearer Bearer t0ken\n"] {
        let (address, received) = scripted(write("HTTP/1.1 204 Empty\r\nset-cookie: a=b\r\n\r\n")).await;
        let client = ApiClient::new(&settings(format!("http://{address}/chat/")), token(given)).unwrap();
        send(&client).await;
        send(&client).await;
        for request in received.requests() {
            assert!(request.starts_with("POST /chat/api/v1/messages/outgoing-to-device HTTP/1.1\r\n"), "{request}");
            assert!(request.ends_with("\r\n\r\n{\"text\":\"private\"}"), "{request}");
            let headers = headers(&request);
            assert_eq!(headers["authorization"], ["Bearer t0ken"]);
            assert_eq!(headers["content-type"], ["application/json"]);
            assert_eq!(headers["content-length"], ["18"]);
            for absent in ["accept-encoding", "cookie", "referer"] {
                assert!(!headers.contains_key(absent), "{absent}: {request}");
            }
        }
        assert_eq!(received.requests().len(), 2);
    }
}

#[tokio::test]
async fn redirect_is_an_answer_and_is_not_followed() {
    let (elsewhere, strayed) = scripted(write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    for status in [301, 302, 303, 307, 308] {
        let text = format!("HTTP/1.1 {status} Go\r\nlocation: http://{elsewhere}/\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(evidence_of(write(&text)).await, answer(status, b""));
    }
    assert_eq!(strayed.requests(), [""; 0]);
}

#[tokio::test]
async fn compressed_body_is_not_decoded() {
    let text = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nabcd";
    assert_eq!(evidence_of(write(text)).await, answer(200, b"abcd"));
}

#[tokio::test]
async fn refused_port_and_unknown_host_are_not_sent() {
    let (refused, _held) = refusing();
    assert_eq!(send(&client(refused)).await, Evidence::NotSent(NotSent::Connect));

    // Some resolvers take long to report an unknown name.
    let patient = Duration::from_secs(120);
    let settings = ApiSettings { timeout: patient, connect_timeout: patient, ..settings("http://nonexistent.invalid") };
    let unknown = ApiClient::new(&settings, token("t")).unwrap();
    assert_eq!(send(&unknown).await, Evidence::NotSent(NotSent::Dns));
}

#[tokio::test]
async fn failed_tls_handshake_is_not_sent() {
    // Not TLS at all, and a connection that closes during the handshake. A client hello does not end in a brace, so these
    // servers do not use `read_request`.
    for reply in ["HTTP/1.1 400 Bad Request\r\n\r\n", ""] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_buf(&mut Vec::with_capacity(4096)).await.unwrap();
            stream.write_all(reply.as_bytes()).await.unwrap();
        });
        let client = ApiClient::new(&settings(format!("https://{address}")), token("t")).unwrap();
        assert_eq!(send(&client).await, Evidence::NotSent(NotSent::Tls), "{reply:?}");
    }
}

#[tokio::test]
async fn connection_closed_before_the_status_is_no_answer() {
    for head in ["", "HTT", "HTTP/1.1 200 OK\r\nconte"] {
        assert_eq!(evidence_of(write(head)).await, Evidence::NoAnswer(NoAnswer::Broken), "{head:?}");
    }
    assert_eq!(evidence_of(write("220 smtp ready\r\n\r\n")).await, Evidence::NoAnswer(NoAnswer::Broken));
}

#[tokio::test]
async fn status_of_a_broken_body_is_an_answer() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\"";
    assert_eq!(evidence_of(write(cut)).await, without_body(200));
    let cut = "HTTP/1.1 500 Oops\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab";
    assert_eq!(evidence_of(write(cut)).await, without_body(500));
}

#[tokio::test]
async fn retry_after_is_relative_to_now() {
    let far = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(3600));
    let rows = [("7", 7..=7), ("Sun, 06 Nov 1994 08:49:37 GMT", 0..=0), (far.as_str(), 3590..=3600)];
    for (value, seconds) in rows {
        let text = format!("HTTP/1.1 429 Slow\r\nretry-after: {value}\r\ncontent-length: 0\r\n\r\n");
        let wait = evidence_of(write(&text)).await.retry_after().unwrap();
        assert!(seconds.contains(&wait.as_secs()), "{value}: {wait:?}");
    }
    let text = "HTTP/1.1 503 Slow\r\nretry-after: 2.5\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(evidence_of(write(text)).await.retry_after(), Some(Duration::from_millis(2_500)));
    let text = "HTTP/1.1 503 Slow\r\nretry-after: \u{e9}\u{1F600}\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(evidence_of(write(text)).await, answer(503, b""));
}

#[tokio::test]
async fn status_with_flawed_headers_is_an_answer() {
    for flaw in
        ["set-cookie: a=\u{1}b", "x-a : b", "x-a: b\r\n c", "x-a\u{e9}: b", "x a: b", ": b", "no colon", "x-a: \u{e9}"]
    {
        let text = format!("HTTP/1.1 200 OK\r\n{flaw}\r\ncontent-length: 2\r\n\r\n{{}}");
        assert_eq!(evidence_of(write(&text)).await, answer(200, b"{}"), "{flaw:?}");
    }
}

#[tokio::test]
async fn status_with_many_or_large_headers_is_an_answer() {
    let many: String = (0..200).map(|number| format!("x-{number}: y\r\n")).collect();
    let large = format!("x: {}\r\n", "y".repeat(100_000));
    for headers in [many, large] {
        let text = format!("HTTP/1.1 200 OK\r\n{headers}content-length: 2\r\n\r\n{{}}");
        assert_eq!(evidence_of(write(&text)).await, answer(200, b"{}"), "{} bytes", headers.len());
    }
}

/// The client does not report the status of such a head, which makes the attempt uncertain.
#[tokio::test]
async fn head_that_cannot_be_read_is_no_answer() {
    for head in [
        "HTTP/1.1 2x0 OK",
        "HTTP/1.1 200 OK\r\nset-cookie: a=\0b",
        "HTTP/1.1 200 OK\r\ncontent-length: x",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3",
    ] {
        let text = format!("{head}\r\n\r\n{{}}");
        assert_eq!(evidence_of(write(&text)).await, Evidence::NoAnswer(NoAnswer::Broken), "{head:?}");
    }
}

#[tokio::test]
async fn interim_responses_are_skipped() {
    let text = "HTTP/1.1 100 Continue\r\nx: y\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
                HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    assert_eq!(evidence_of(write(text)).await, answer(200, b"{}"));
}

/// A server that refuses a large body before it has read it.
#[tokio::test]
async fn response_before_the_request_is_written_is_an_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(listener.local_addr().unwrap());
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_buf(&mut Vec::with_capacity(1024)).await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Large\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        stream
    };
    let body = Bytes::from(vec![b'x'; 16 << 20]);
    let ((evidence, _), _stream) = tokio::join!(client.send(&body), serving);
    assert_eq!(evidence, answer(413, b""));
}
