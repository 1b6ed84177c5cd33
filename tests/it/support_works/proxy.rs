use std::time::Duration;

use futures_util::FutureExt;
use lapin::{BasicProperties, Confirmation, ExchangeKind, options::BasicPublishOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, split},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::{
    SOON,
    client::Client,
    eventually::eventually,
    proxy::{Link, Proxy, Way},
    queues::Queues,
};

/// How long nothing must come before we believe that nothing comes.
const SILENCE: Duration = Duration::from_millis(200);

/// A server that says back what it hears.
async fn echo() -> String {
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

async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("the proxy takes bytes");
}

async fn hear(stream: &mut TcpStream, text: &str) {
    let mut heard = vec![0; text.len()];
    timeout(SOON, stream.read_exact(&mut heard)).await.expect("in time").expect("the connection lives");
    assert_eq!(heard, text.as_bytes());
}

async fn hear_nothing(stream: &mut TcpStream) {
    let heard = timeout(SILENCE, stream.read_u8()).await;
    assert!(heard.is_err(), "silence, not {heard:?}");
}

#[tokio::test]
async fn forwards_and_counts() {
    let proxy = Proxy::tcp(echo().await).await;
    let mut stream = connect(&proxy).await;
    say(&mut stream, "hello").await;
    hear(&mut stream, "hello").await;
    assert_eq!((proxy.bytes(Way::ToServer), proxy.bytes(Way::ToClient)), (5, 5));
    assert_eq!((proxy.accepted(), proxy.open()), (1, 1));
    stream.shutdown().await.expect("open");
    assert_eq!(stream.read(&mut [0]).await.expect("an orderly end"), 0, "the end is forwarded there and back");
    eventually!(SOON, proxy.open() == 0, "the end of the connection");
}

#[tokio::test]
async fn cut_ends_connections_and_welcomes_new_ones() {
    let proxy = Proxy::tcp(echo().await).await;
    let mut old = connect(&proxy).await;
    say(&mut old, "a").await;
    hear(&mut old, "a").await;
    proxy.cut();
    let end = timeout(SOON, old.read(&mut [0])).await.expect("in time");
    assert!(matches!(end, Ok(0) | Err(_)), "an end, not {end:?}");
    let mut new = connect(&proxy).await;
    say(&mut new, "b").await;
    hear(&mut new, "b").await;
    assert_eq!((proxy.accepted(), proxy.open()), (2, 1));
}

#[tokio::test]
async fn stall_keeps_bytes_back_until_resume() {
    let proxy = Proxy::tcp(echo().await).await;
    let mut stream = connect(&proxy).await;
    say(&mut stream, "a").await;
    hear(&mut stream, "a").await;
    proxy.stall();
    say(&mut stream, "b").await;
    hear_nothing(&mut stream).await;
    assert_eq!(proxy.bytes(Way::ToClient), 1, "the server never heard it");
    proxy.resume().await;
    hear(&mut stream, "b").await;
}

#[tokio::test]
async fn stall_in_one_way_lets_the_other_flow() {
    let proxy = Proxy::tcp(echo().await).await;
    let mut stream = connect(&proxy).await;
    proxy.stall_way(Way::ToClient);
    say(&mut stream, "a").await;
    eventually!(SOON, proxy.bytes(Way::ToServer) == 1, "the byte on its way to the server");
    hear_nothing(&mut stream).await;
    proxy.cut();
    let end = timeout(SOON, stream.read(&mut [0])).await.expect("a cut ends a stalled connection too");
    assert!(matches!(end, Ok(0) | Err(_)), "an end, not {end:?}");
}

#[tokio::test]
async fn refuse_closes_the_door_but_not_the_connections() {
    let proxy = Proxy::tcp(echo().await).await;
    let mut old = connect(&proxy).await;
    say(&mut old, "a").await;
    hear(&mut old, "a").await;
    proxy.refuse().await;
    let refused = TcpStream::connect(proxy.address()).await.map(drop).map_err(|e| e.kind());
    assert_eq!(refused, Err(std::io::ErrorKind::ConnectionRefused));
    say(&mut old, "b").await;
    hear(&mut old, "b").await;
    proxy.resume().await;
    let mut new = connect(&proxy).await;
    say(&mut new, "c").await;
    hear(&mut new, "c").await;
}

#[tokio::test]
async fn blackhole_accepts_and_says_nothing() {
    let proxy = Proxy::tcp(echo().await).await;
    proxy.blackhole();
    let mut stream = connect(&proxy).await;
    say(&mut stream, "anyone?").await;
    hear_nothing(&mut stream).await;
    assert_eq!((proxy.accepted(), proxy.bytes(Way::ToServer)), (1, 0));
}

/// A connection that has told its name, as the daemon's do.
async fn named(proxy: &Proxy, name: &str) -> TcpStream {
    let mut stream = connect(proxy).await;
    say(&mut stream, name).await;
    hear(&mut stream, name).await;
    stream
}

#[tokio::test]
async fn faults_of_one_link_spare_the_other() {
    let proxy = Proxy::tcp(echo().await).await;
    let mut consume = named(&proxy, "edna-courier consume").await;
    let mut publish = named(&proxy, "edna-courier publish").await;
    let faults = proxy.only(Link::Publish);
    faults.stall();
    say(&mut publish, "a").await;
    say(&mut consume, "b").await;
    hear(&mut consume, "b").await;
    hear_nothing(&mut publish).await;
    faults.resume().await;
    hear(&mut publish, "a").await;

    faults.blackhole();
    let mut swallowed = connect(&proxy).await;
    say(&mut swallowed, "edna-courier publish").await;
    hear_nothing(&mut swallowed).await;
    assert_eq!(proxy.swallowed(), 1);
    say(&mut publish, "c").await;
    hear(&mut publish, "c").await;

    faults.cut();
    for stream in [&mut publish, &mut swallowed] {
        let end = timeout(SOON, stream.read(&mut [0])).await.expect("in time");
        assert!(matches!(end, Ok(0) | Err(_)), "an end, not {end:?}");
    }
    say(&mut consume, "d").await;
    hear(&mut consume, "d").await;
}

#[tokio::test]
async fn withheld_confirms_leave_a_stored_message_unconfirmed() {
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
    eventually!(SOON, proxy.confirms_withheld() == 1, "the broker's confirm at the proxy");
    assert_eq!(queues.client().depth(&commands).await, 2, "the broker has stored both");
    assert_eq!(client.depth(&commands).await, 2, "all else flows through the proxy");
    assert!((&mut confirm).now_or_never().is_none(), "unconfirmed as long as the confirm is withheld");

    proxy.resume().await;
    let released = timeout(SOON, confirm).await.expect("in time");
    assert!(matches!(released, Ok(Confirmation::Ack(None))), "confirmed, not {released:?}");
}

#[tokio::test]
async fn a_cut_connection_to_the_broker_is_noticed_and_the_message_stays() {
    let queues = Queues::new("cut").await;
    let commands = queues.declare("commands", ExchangeKind::Direct, "send").await;
    let proxy = Proxy::amqp(queues.broker().host_and_port()).await;
    let client = Client::connect(&queues.broker().url_at(proxy.address())).await;
    client.publish(&commands, "send", b"kept", BasicProperties::default()).await;
    let channel = client.confirming_channel().await;
    proxy.cut();
    eventually!(SOON, !channel.status().connected(), "the client's notice of the cut");
    assert_eq!(queues.client().read_one(&commands, SOON).await.body, b"kept");
}
