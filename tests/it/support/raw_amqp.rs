//! A minimal AMQP 0-9-1 client that neither encodes nor decodes properties: for messages that lapin cannot read.

use lapin::uri::AMQPUri;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{TIMEOUT, broker::Broker};

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const FRAME_END: u8 = 0xce;
const CHANNEL: u16 = 1;
const FRAME_MAX: u32 = 131_072;

/// The properties of a message as on the wire: property flags, then the property list.
pub(crate) struct RawProperties {
    flags: u16,
    list: Vec<u8>,
}

impl RawProperties {
    /// A persistent message with these bytes as its correlation id.
    pub(crate) fn with_correlation_id(bytes: &[u8]) -> Self {
        Self { flags: (1 << 12) | (1 << 10), list: [&[2][..], &short(bytes)].concat() }
    }

    /// A persistent message with one header: arrays in arrays, this deep.
    pub(crate) fn with_nested_header(depth: usize) -> Self {
        let array = (0..depth).fold(Vec::new(), |inner, _| [&b"A"[..], &long(&inner)].concat());
        let table = long(&[short(b"nested"), array].concat());
        Self { flags: (1 << 13) | (1 << 12), list: [&table[..], &[2]].concat() }
    }
}

/// A message as on the wire.
pub(crate) struct RawMessage {
    /// The payload of the content header frame.
    pub(crate) header: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

impl RawMessage {
    /// Whether the properties contain this text.
    pub(crate) fn header_contains(&self, text: &str) -> bool {
        self.header.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

/// One connection with one channel in confirm mode.
pub(crate) struct RawClient(TcpStream);

impl RawClient {
    pub(crate) async fn connect(broker: &Broker) -> Self {
        let uri: AMQPUri = broker.url().parse().expect("a URL");
        let mut client = Self(TcpStream::connect(broker.host_and_port()).await.expect("a connection"));
        client.0.write_all(b"AMQP\0\0\x09\x01").await.expect("written");
        client.expect((10, 10)).await;
        let user = uri.authority.userinfo;
        let login = format!("\0{}\0{}", user.username, user.password);
        let start_ok = [long(&[]), short(b"PLAIN"), long(login.as_bytes()), short(b"en_US")].concat();
        client.call(0, (10, 11), &start_ok, (10, 30)).await;
        let tune_ok = [&CHANNEL.to_be_bytes()[..], &FRAME_MAX.to_be_bytes(), &[0, 0]].concat();
        client.send_method(0, (10, 31), &tune_ok).await;
        client.call(0, (10, 40), &[short(uri.vhost.as_bytes()), vec![0, 0]].concat(), (10, 41)).await;
        client.call(CHANNEL, (20, 10), &[0], (20, 11)).await;
        client.call(CHANNEL, (85, 10), &[0], (85, 11)).await;
        client
    }

    /// Publishes and awaits the confirm. The body must fit into one frame.
    pub(crate) async fn publish(&mut self, exchange: &str, key: &str, properties: &RawProperties, body: &[u8]) {
        let target = [&[0, 0][..], &short(exchange.as_bytes()), &short(key.as_bytes()), &[0]].concat();
        self.send_method(CHANNEL, (60, 40), &target).await;
        let size = u64::try_from(body.len()).expect("fits");
        let header = [&[0, 60, 0, 0][..], &size.to_be_bytes(), &properties.flags.to_be_bytes(), &properties.list];
        self.send(HEADER, CHANNEL, &header.concat()).await;
        self.send(BODY, CHANNEL, body).await;
        self.expect((60, 80)).await;
    }

    /// Takes the next message of a queue, if there is one.
    pub(crate) async fn get(&mut self, queue: &str) -> Option<RawMessage> {
        let no_ack = 1;
        let request = [&[0, 0][..], &short(queue.as_bytes()), &[no_ack]].concat();
        self.send_method(CHANNEL, (60, 70), &request).await;
        let (_, reply) = self.receive().await;
        if method(&reply) == (60, 72) {
            return None;
        }
        let (kind, header) = self.receive().await;
        assert_eq!((method(&reply), kind), ((60, 71), HEADER));
        let size = u64::from_be_bytes(header[4..12].try_into().expect("eight bytes"));
        let mut body = Vec::new();
        while (body.len() as u64) < size {
            body.extend(self.receive().await.1);
        }
        Some(RawMessage { header, body })
    }

    async fn call(&mut self, channel: u16, request: (u16, u16), arguments: &[u8], reply: (u16, u16)) {
        self.send_method(channel, request, arguments).await;
        self.expect(reply).await;
    }

    async fn expect(&mut self, expected: (u16, u16)) {
        let (kind, payload) = self.receive().await;
        assert_eq!((kind, method(&payload)), (METHOD, expected), "{}", String::from_utf8_lossy(&payload));
    }

    async fn send_method(&mut self, channel: u16, (class, method): (u16, u16), arguments: &[u8]) {
        let payload = [&class.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat();
        self.send(METHOD, channel, &payload).await;
    }

    async fn send(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let frame = [&[kind][..], &channel.to_be_bytes(), &long(payload), &[FRAME_END]].concat();
        self.0.write_all(&frame).await.expect("written");
    }

    /// The type and payload of the next frame.
    async fn receive(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            let mut head = [0; 7];
            self.0.read_exact(&mut head).await.expect("a frame");
            let size = u32::from_be_bytes(head[3..].try_into().expect("four bytes"));
            let mut payload = vec![0; usize::try_from(size).expect("fits") + 1];
            self.0.read_exact(&mut payload).await.expect("a payload");
            assert_eq!(payload.pop(), Some(FRAME_END));
            (head[0], payload)
        };
        timeout(TIMEOUT, read).await.expect("an answer of the broker")
    }
}

/// The class and method of a method frame.
fn method(payload: &[u8]) -> (u16, u16) {
    (u16::from_be_bytes([payload[0], payload[1]]), u16::from_be_bytes([payload[2], payload[3]]))
}

/// A short string: its length in one byte, then its bytes.
fn short(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).expect("short")], bytes].concat()
}

/// A long string, table or array: its length in four bytes, then its bytes.
fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).expect("fits").to_be_bytes()[..], bytes].concat()
}
