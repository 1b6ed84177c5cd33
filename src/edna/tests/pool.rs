//! Which connection a request goes by.

use futures_util::future::join_all;
use tokio::{join, sync::Barrier, time::timeout};

use super::*;

/// Answers the requests of each connection one after the other, so many at a time; tells how many connections there were.
async fn serving(together: usize) -> (SocketAddr, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, connections) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(0)));
    let (counted, together) = (connections.clone(), Arc::new(Barrier::new(together)));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            *counted.lock().unwrap() += 1;
            let together = together.clone();
            tokio::spawn(async move {
                while !read_request(&mut stream).await.is_empty() {
                    together.wait().await;
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
                }
            });
        }
    });
    (address, connections)
}

/// How many connections two rounds of three requests at once take.
async fn two_rounds(change: impl FnOnce(&mut ApiSettings)) -> usize {
    let (address, connections) = serving(3).await;
    let mut settings = settings(format!("http://{address}"));
    change(&mut settings);
    let client = ApiClient::new(&settings, token("t0ken")).unwrap();
    for _ in 0..2 {
        let answers = join_all((0..3).map(|_| send(&client))).await;
        assert_eq!(answers, vec![answer(200, b"{}"); 3]);
    }
    *connections.lock().unwrap()
}

#[tokio::test]
async fn connections_serve_again() {
    assert_eq!(two_rounds(|_| {}).await, 3);
}

#[tokio::test]
async fn no_more_wait_than_may() {
    assert_eq!(two_rounds(|settings| settings.pool_max_idle = 1).await, 5);
}

#[tokio::test]
async fn one_that_was_unused_for_too_long_is_not_used() {
    assert_eq!(two_rounds(|settings| settings.pool_idle_timeout = Duration::ZERO).await, 6);
}

#[tokio::test]
async fn one_that_was_unused_for_too_long_is_closed_though_no_request_follows() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(format!("http://{}", listener.local_addr().unwrap()));
    settings.pool_idle_timeout = Duration::from_millis(100);
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 204 Empty\r\n\r\n").await.unwrap();
        timeout(Duration::from_secs(10), stream.read(&mut [0])).await
    };
    let client = ApiClient::new(&settings, token("t0ken")).unwrap();
    let (answered, closed) = join!(send(&client), serving);
    assert_eq!((answered, closed.unwrap().unwrap()), (answer(204, b""), 0));
}

/// More than a task may look at before others have their turn.
const MANY: usize = 200;

#[tokio::test]
async fn of_many_that_the_peer_has_closed_none_is_used() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(listener.local_addr().unwrap());
    let serving = async {
        for count in [MANY, 1] {
            let mut streams = Vec::new();
            for _ in 0..count {
                streams.push(listener.accept().await.unwrap().0);
            }
            for stream in &mut streams {
                read_request(stream).await;
                stream.write_all(b"HTTP/1.1 204 Empty\r\n\r\n").await.unwrap();
            }
        }
    };
    let sending = async {
        let answers = join_all((0..MANY).map(|_| send(&client))).await;
        assert_eq!(answers, vec![answer(204, b""); MANY]);
        assert_eq!(send(&client).await, answer(204, b""));
    };
    join!(sending, serving);
}

#[tokio::test]
async fn the_host_is_told_with_a_port_where_the_scheme_does_not_tell_it() {
    let (address, seen) = scripted(Then::Write(b"HTTP/1.1 204 Empty\r\n\r\n".to_vec())).await;
    send(&client(address)).await;
    assert_eq!(headers(&seen.requests()[0])["host"], [address.to_string()]);
}
