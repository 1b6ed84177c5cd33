//! The reuse of connections.

use futures_util::future::join_all;
use tokio::{join, sync::Barrier, time::timeout};

use super::*;

/// Serves each connection one request after the other, `concurrency` at a time. Returns the number of connections.
async fn serving(concurrency: usize) -> (SocketAddr, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, connections) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(0)));
    let (counted, barrier) = (connections.clone(), Arc::new(Barrier::new(concurrency)));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            *counted.lock().unwrap() += 1;
            let barrier = barrier.clone();
            tokio::spawn(async move {
                while !read_request(&mut stream).await.is_empty() {
                    barrier.wait().await;
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
                }
            });
        }
    });
    (address, connections)
}

/// How many connections two rounds of three concurrent requests take.
async fn connections_of_two_rounds(change: impl FnOnce(&mut ApiSettings)) -> usize {
    let (address, connections) = serving(3).await;
    let mut settings = settings(format!("http://{address}"));
    change(&mut settings);
    let client = ApiClient::new(&settings, token("t0ken")).unwrap();
    for _ in 0..2 {
        let answers = join_all((0..3).map(|_| send(&client))).await;
        assert_eq!(answers, vec![answer(200, b"{}"); 3]);
        // The client's connection tasks return their connections to the pool.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
    *connections.lock().unwrap()
}

#[tokio::test]
async fn idle_connection_is_used_again() {
    assert_eq!(connections_of_two_rounds(|_| {}).await, 3);
}

/// Node closes an idle connection after 5 s, nginx after 75 s; neither waits for a request that is on its way.
#[test]
fn default_idle_timeout_is_below_that_of_servers() {
    assert_eq!(ApiSettings::default().pool_idle_timeout, Duration::from_secs(4));
}

#[tokio::test]
async fn idle_connections_beyond_the_limit_are_closed() {
    assert_eq!(connections_of_two_rounds(|settings| settings.pool_max_idle = 1).await, 5);
}

#[tokio::test]
async fn idle_connection_is_closed_after_its_timeout() {
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

/// With a server that keeps to its word, a later request on that connection would be uncertain.
#[tokio::test]
async fn connection_is_closed_before_the_time_the_server_states() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(listener.local_addr().unwrap());
    for _ in 0..2 {
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=1\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
            timeout(Duration::from_secs(2), stream.read(&mut [0])).await
        };
        let (evidence, closed) = join!(send(&client), serving);
        assert_eq!((evidence, closed.unwrap().unwrap()), (answer(200, b"{}"), 0));
    }
}

#[tokio::test]
async fn connections_that_the_server_closed_are_not_used() {
    const CONNECTIONS: usize = 200;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(listener.local_addr().unwrap());
    let barrier = Arc::new(Barrier::new(CONNECTIONS));
    let serve_one = |(mut stream, _): (TcpStream, SocketAddr)| {
        let barrier = barrier.clone();
        async move {
            read_request(&mut stream).await;
            barrier.wait().await;
            stream.write_all(b"HTTP/1.1 204 Empty\r\n\r\n").await.unwrap();
            stream.shutdown().await.unwrap();
            // The client has noticed the end when it closes its side, too.
            assert!(stream.read_u8().await.is_err());
        }
    };
    let serving = async {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(tokio::spawn(serve_one(listener.accept().await.unwrap())));
        }
        for connection in connections {
            connection.await.unwrap();
        }
    };
    let (answers, ()) = join!(join_all((0..CONNECTIONS).map(|_| send(&client))), serving);
    assert!(answers.iter().all(|evidence| *evidence == answer(204, b"")));
    let fresh = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 204 Empty\r\n\r\n").await.unwrap();
    };
    let (evidence, ()) = join!(send(&client), fresh);
    assert_eq!(evidence, answer(204, b""));
}

#[tokio::test]
async fn host_header_names_a_port_that_is_not_the_default() {
    let (address, received) = scripted(Reply::Write(b"HTTP/1.1 204 Empty\r\n\r\n".to_vec())).await;
    send(&client(address)).await;
    assert_eq!(headers(&received.requests()[0])["host"], [address.to_string()]);
}

#[tokio::test]
async fn ipv6_address_is_reached() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else { return };
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 204 Empty\r\n\r\n").await.unwrap();
    });
    assert_eq!(send(&client(address)).await, answer(204, b""));
}
