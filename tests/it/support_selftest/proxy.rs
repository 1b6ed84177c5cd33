//! Each fault of the proxy.

use std::time::Duration;

use futures_util::FutureExt;
use lapin::{BasicProperties, Confirmation, ExchangeKind, options::BasicPublishOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, split},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::{
    TIMEOUT,
    client::Client,
    eventually::eventually,
    proxy::{Direction, Proxy, Role},
    queues::Queues,
};

/// How long a read must stay pending to count as silence.
const QUIET_PERIOD: Duration = Duration::from_millis(200);

/// Starts an echo server; returns its address.
async fn echo_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (mut read, mut write) = split(stream);
            tokio::spawn(async move { copy(&mut read, &mut write).await });
        }
    });
    address.to_string()
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.expect("the proxy accepts")
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("written");
}

async fn receive(stream: &mut TcpStream, text: &str) {
    let mut received = vec![0; text.len()];
    timeout(TIMEOUT, stream.read_exact(&mut received)).await.expect("in time").expect("an open connection");
    assert_eq!(received, text.as_bytes());
}

async fn expect_silence(stream: &mut TcpStream) {
    let read = timeout(QUIET_PERIOD, stream.read_u8()).await;
    assert!(read.is_err(), "silence expected, read {read:?}");
}

#[tokio::test]
async fn proxy_forwards_and_counts_bytes() {
    let proxy = Proxy::tcp(echo_server().await).await;
    let mut stream = connect(&proxy).await;
    send(&mut stream, "hello").await;
    receive(&mut stream, "hello").await;
    assert_eq!((proxy.bytes(Direction::ToServer), proxy.bytes(Direction::ToClient)), (5, 5));
    assert_eq!((proxy.accepted(), proxy.open()), (1, 1));
    stream.shutdown().await.expect("open");
    assert_eq!(stream.read(&mut [0]).await.expect("EOF"), 0, "EOF is forwarded in both directions");
    eventually!(TIMEOUT, proxy.open() == 0, "the connection closes");
}

#[tokio::test]
async fn proxy_cut_closes_connections_and_accepts_new_ones() {
    let proxy = Proxy::tcp(echo_server().await).await;
    let mut old = connect(&proxy).await;
    send(&mut old, "a").await;
    receive(&mut old, "a").await;
    proxy.cut();
    let end = timeout(TIMEOUT, old.read(&mut [0])).await.expect("in time");
    assert!(matches!(end, Ok(0) | Err(_)), "EOF or an error, not {end:?}");
    let mut new = connect(&proxy).await;
    send(&mut new, "b").await;
    receive(&mut new, "b").await;
    assert_eq!((proxy.accepted(), proxy.open()), (2, 1));
}

#[tokio::test]
async fn proxy_stall_holds_bytes_until_resume() {
    let proxy = Proxy::tcp(echo_server().await).await;
    let mut stream = connect(&proxy).await;
    send(&mut stream, "a").await;
    receive(&mut stream, "a").await;
    proxy.stall();
    send(&mut stream, "b").await;
    expect_silence(&mut stream).await;
    assert_eq!(proxy.bytes(Direction::ToClient), 1, "the byte did not reach the server");
    proxy.resume().await;
    receive(&mut stream, "b").await;
}

#[tokio::test]
async fn proxy_stall_of_one_direction_keeps_the_other() {
    let proxy = Proxy::tcp(echo_server().await).await;
    let mut stream = connect(&proxy).await;
    proxy.stall_direction(Direction::ToClient);
    send(&mut stream, "a").await;
    eventually!(TIMEOUT, proxy.bytes(Direction::ToServer) == 1, "the byte reaches the proxy");
    expect_silence(&mut stream).await;
    proxy.cut();
    let end = timeout(TIMEOUT, stream.read(&mut [0])).await.expect("cut closes a stalled connection");
    assert!(matches!(end, Ok(0) | Err(_)), "EOF or an error, not {end:?}");
}

#[tokio::test]
async fn proxy_refuse_keeps_open_connections() {
    let proxy = Proxy::tcp(echo_server().await).await;
    let mut old = connect(&proxy).await;
    send(&mut old, "a").await;
    receive(&mut old, "a").await;
    proxy.refuse().await;
    let refused = TcpStream::connect(proxy.address()).await.map(drop).map_err(|e| e.kind());
    assert_eq!(refused, Err(std::io::ErrorKind::ConnectionRefused));
    send(&mut old, "b").await;
    receive(&mut old, "b").await;
    proxy.resume().await;
    let mut new = connect(&proxy).await;
    send(&mut new, "c").await;
    receive(&mut new, "c").await;
}

#[tokio::test]
async fn proxy_blackhole_accepts_and_stays_silent() {
    let proxy = Proxy::tcp(echo_server().await).await;
    proxy.blackhole();
    let mut stream = connect(&proxy).await;
    send(&mut stream, "hello").await;
    expect_silence(&mut stream).await;
    assert_eq!((proxy.accepted(), proxy.bytes(Direction::ToServer)), (1, 0));
}

/// A connection that has sent a connection name, as the daemon does.
async fn connect_as(proxy: &Proxy, name: &str) -> TcpStream {
    let mut stream = connect(proxy).await;
    send(&mut stream, name).await;
    receive(&mut stream, name).await;
    stream
}

#[tokio::test]
async fn proxy_faults_of_one_role_spare_the_other() {
    let proxy = Proxy::tcp(echo_server().await).await;
    let mut consume = connect_as(&proxy, "edna-courier consume").await;
    let mut publish = connect_as(&proxy, "edna-courier publish").await;
    let faults = proxy.for_role(Role::Publish);
    faults.stall();
    send(&mut publish, "a").await;
    send(&mut consume, "b").await;
    receive(&mut consume, "b").await;
    expect_silence(&mut publish).await;
    faults.resume().await;
    receive(&mut publish, "a").await;

    faults.blackhole();
    let mut blackholed = connect(&proxy).await;
    send(&mut blackholed, "edna-courier publish").await;
    expect_silence(&mut blackholed).await;
    assert_eq!(proxy.blackholed(), 1);
    send(&mut publish, "c").await;
    receive(&mut publish, "c").await;

    faults.cut();
    for stream in [&mut publish, &mut blackholed] {
        let end = timeout(TIMEOUT, stream.read(&mut [0])).await.expect("in time");
        assert!(matches!(end, Ok(0) | Err(_)), "EOF or an error, not {end:?}");
    }
    send(&mut consume, "d").await;
    receive(&mut consume, "d").await;
}

#[tokio::test]
async fn proxy_withheld_confirm_leaves_message_unconfirmed() {
    let queues = Queues::new("confirms").await;
    let commands = queues.declare("commands", ExchangeKind::Direct, "send").await;
    let proxy = Proxy::amqp(queues.broker().host_and_port()).await;
    let client = Client::connect(&queues.broker().url_at(proxy.address())).await;
    let channel = client.confirming_channel().await;
    let publish = |body: &'static [u8]| {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        channel.basic_publish(commands.as_str().into(), "send".into(), options, body, properties)
    };
    let confirm = publish(b"before").await.expect("written");
    assert!(matches!(confirm.await, Ok(Confirmation::Ack(None))));

    proxy.withhold_confirms();
    let mut confirm = publish(b"withheld").await.expect("written");
    eventually!(TIMEOUT, proxy.confirms_withheld() == 1, "the proxy withholds the confirm");
    assert_eq!(queues.client().depth(&commands).await, 2, "both messages are stored");
    assert_eq!(client.depth(&commands).await, 2, "other frames pass the proxy");
    assert!((&mut confirm).now_or_never().is_none(), "no confirm while it is withheld");

    proxy.resume().await;
    let released = timeout(TIMEOUT, confirm).await.expect("in time");
    assert!(matches!(released, Ok(Confirmation::Ack(None))), "expected a confirm, got {released:?}");
}

#[tokio::test]
async fn proxy_cut_is_detected_and_message_is_kept() {
    let queues = Queues::new("cut").await;
    let commands = queues.declare("commands", ExchangeKind::Direct, "send").await;
    let proxy = Proxy::amqp(queues.broker().host_and_port()).await;
    let client = Client::connect(&queues.broker().url_at(proxy.address())).await;
    client.publish(&commands, "send", b"kept", BasicProperties::default()).await;
    let channel = client.confirming_channel().await;
    proxy.cut();
    eventually!(TIMEOUT, !channel.status().connected(), "the client detects the cut");
    assert_eq!(queues.client().read_one(&commands, TIMEOUT).await.body, b"kept");
}
