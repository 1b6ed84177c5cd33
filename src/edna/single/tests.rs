//! Answers whole and in pieces, cut short, early, endless, and no answers at all.

use proptest::{collection::vec, prelude::*};
use tokio::{
    io::{self, AsyncReadExt, AsyncWriteExt, duplex},
    join,
    runtime::Builder,
    select,
    task::yield_now,
};

use super::*;

/// What became of a request: the status, the body if all of it came, and whether the connection may serve again.
type Outcome = Option<(u16, Option<Vec<u8>>, bool)>;

async fn outcome<S: AsyncRead + AsyncWrite + Unpin>(single: &mut Single<S>, post: &[u8]) -> Outcome {
    let mut answer = single.send(post).await.ok()?;
    let (status, mut body) = (answer.status().as_u16(), Some(Vec::new()));
    loop {
        match single.chunk(answer.body_mut()).await {
            Ok(Some(chunk)) => body.as_mut().unwrap().extend(chunk),
            Ok(None) => break,
            Err(_) => {
                body = None;
                break;
            }
        }
    }
    Some((status, body, single.may_serve_again(answer.body())))
}

/// The answer comes in these pieces, and then the end.
async fn after(pieces: impl IntoIterator<Item = &[u8]>) -> Outcome {
    let (stream, mut peer) = duplex(1 << 20);
    let mut single = Single::new(stream);
    let answering = async {
        let mut taken = [0; 64];
        assert!(peer.read(&mut taken).await.unwrap() > 0);
        for piece in pieces {
            peer.write_all(piece).await.unwrap();
            yield_now().await;
        }
        drop(peer);
    };
    join!(outcome(&mut single, b"POST"), answering).0
}

fn run<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Answers, and what is to be read of each.
const ANSWERS: &[(&str, u16, &str, bool)] = &[
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", true),
    ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, "", true),
    ("HTTP/1.1 204 Empty\r\n\r\n", 204, "", true),
    ("HTTP/1.1 302 Go\r\nlocation: /x\r\ncontent-length: 2\r\n\r\nno", 302, "no", true),
    ("HTTP/1.1 422 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", 422, "hello", true),
    ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\ntrailer: t\r\n\r\n", 200, "hello", true),
    (
        "HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 201 Made\r\ncontent-length: 1\r\n\r\n1",
        201,
        "1",
        true,
    ),
    (
        "HTTP/1.1 100 Continue\r\nserver: x\r\ndate: y\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        200,
        "{}",
        true,
    ),
    ("HTTP/1.1 204 Empty\r\ncontent-length: 2\r\n\r\n", 204, "", false),
    ("HTTP/1.1 304 Same\r\ntransfer-encoding: chunked\r\n\r\n", 304, "", false),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        200,
        "{}",
        false,
    ),
    ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}", 200, "{}", false),
    ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", 200, "{}", false),
    ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n{}", 200, "{}", true),
    ("HTTP/1.1 101 Other\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", 101, "", false),
];

/// The end of these is the end of the connection.
const ENDLESS: &[(&str, u16, &str)] =
    &[("HTTP/1.1 200 OK\r\n\r\nhello", 200, "hello"), ("HTTP/1.0 500 Oops\r\n\r\nbad", 500, "bad")];

#[test]
fn an_answer_is_read_to_its_end_and_no_further() {
    for (text, status, body, serves_again) in ANSWERS {
        let read = Some((*status, Some(body.as_bytes().to_vec()), *serves_again));
        assert_eq!(run(after([text.as_bytes()])), read, "{text}");
        // What nobody asked for belongs to no answer.
        let more = run(after([format!("{text}HTTP/1.1 200 OK\r\n\r\n").as_bytes()]));
        assert_eq!(more, read.map(|(status, body, _)| (status, body, false)), "{text}");
    }
    for (text, status, body) in ENDLESS {
        assert_eq!(run(after([text.as_bytes()])), Some((*status, Some(body.as_bytes().to_vec()), false)), "{text}");
    }
}

#[test]
fn an_answer_that_is_cut_short_is_no_whole_one() {
    for (text, status, body, _) in ANSWERS {
        let head = text.rfind("HTTP/").unwrap();
        let head = head + text[head..].find("\r\n\r\n").unwrap() + 4;
        for end in 0..text.len() {
            let read = run(after([&text.as_bytes()[..end]]));
            let known = (end >= head && !body.is_empty()).then_some((*status, None, false));
            assert_eq!(read, known, "{:?}", &text[..end]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_does_not_matter_in_what_pieces_an_answer_comes(answer in 0..ANSWERS.len(), cuts in vec(1_usize..9, 0..200)) {
        let (text, status, body, serves_again) = ANSWERS[answer];
        let (mut rest, mut pieces) = (text.as_bytes(), Vec::new());
        for cut in cuts {
            let (piece, more) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = more;
        }
        pieces.push(rest);
        prop_assert_eq!(run(after(pieces)), Some((status, Some(body.as_bytes().to_vec()), serves_again)));
    }

    #[test]
    fn whatever_comes_ends(start in 0..ANSWERS.len(), kept in 0_usize..200, noise in vec(any::<u8>(), 0..100)) {
        let text = ANSWERS[start].0.as_bytes();
        drop(run(after([&text[..kept.min(text.len())], &noise])));
    }
}

#[tokio::test]
async fn an_early_answer_is_heard_while_the_peer_takes_no_more_of_the_request() {
    let (stream, mut peer) = duplex(256);
    let mut single = Single::new(stream);
    let refusing = async {
        peer.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        peer
    };
    let (told, _peer) = join!(outcome(&mut single, &[b'x'; 100_000]), refusing);
    assert_eq!(told, Some((413, Some(Vec::new()), false)));
}

#[tokio::test]
async fn a_peer_that_closes_before_it_took_all_has_not_answered() {
    let (stream, peer) = duplex(256);
    let mut single = Single::new(stream);
    let closing = async { drop(peer) };
    assert_eq!(join!(outcome(&mut single, &[b'x'; 100_000]), closing).0, None);
}

#[tokio::test]
async fn where_writing_fails_no_answer_is_waited_for() {
    let (reader, _silent) = duplex(256);
    let (writer, _) = duplex(256);
    let mut single = Single::new(io::join(reader, writer));
    assert_eq!(outcome(&mut single, b"POST").await, None);
}

#[tokio::test]
async fn what_has_no_end_is_given_up() {
    let line = "x".repeat(LONGEST_HEAD_BYTES + READ_BYTES);
    assert_eq!(after([format!("HTTP/1.1 200 OK\r\nx: {line}").as_bytes(), b"\r\n\r\n"]).await, None);
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: ";
    assert_eq!(after([chunked.as_bytes(), line.as_bytes(), b"\r\n\r\n"]).await, Some((200, None, false)));
}

/// What comes of a peer that says something, and then something again and again.
async fn flood(start: &str, again: &str) -> Outcome {
    let (stream, mut peer) = duplex(1 << 10);
    let mut single = Single::new(stream);
    let flooding = async {
        peer.write_all(start.as_bytes()).await.unwrap();
        for _ in 0..100_000 {
            peer.write_all(again.as_bytes()).await.unwrap();
        }
    };
    select! {
        outcome = outcome(&mut single, b"POST") => outcome,
        () = flooding => panic!("still read"),
    }
}

#[tokio::test]
async fn what_goes_on_without_end_is_given_up() {
    for interim in ["HTTP/1.1 102 Wait\r\n\r\n", "HTTP/1.1 100 Go on\r\nserver: x\r\n\r\n"] {
        assert_eq!(flood("", interim).await, None);
    }
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n";
    assert_eq!(flood(chunked, "x: y\r\n").await, Some((200, None, false)));
}

#[tokio::test]
async fn a_connection_that_speaks_unasked_or_is_closed_is_not_silent() {
    let (stream, mut peer) = duplex(64);
    let mut single = Single::new(stream);
    assert!(single.is_silent().await && single.is_silent().await);
    peer.write_all(b"H").await.unwrap();
    assert!(!single.is_silent().await);

    let (stream, peer) = duplex(64);
    drop(peer);
    assert!(!Single::new(stream).is_silent().await);
}
