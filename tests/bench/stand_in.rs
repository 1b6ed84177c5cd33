//! The API's stand-in: answers every request well after a fixed time, and costs as little as can be. The sandbox keeps
//! what it receives; this keeps a number.

use std::{
    cell::Cell,
    future::pending,
    io,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    task::{LocalSet, spawn_local},
    time::timeout,
};

use super::{
    STAND_IN,
    process::Process,
    settings::{own, told},
    support::{SOON, eventually::eventually},
};

const LATENCY_MS: &str = "BENCH_LATENCY_MS";
/// The runtime rounds a wait up to whole milliseconds, and the kernel's its own again: without this the API would take 51.9 ms
/// for 50 when the machine is idle, in the mean of what a client sees.
const LATE: Duration = Duration::from_micros(1_500);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 81\r\n\r\n\
    { \"id\": 1, \"threadId\": 2, \"clientId\": 1, \"clientExternalId\": null, \"agentId\": 3 }";

/// A running one, from outside.
pub(crate) struct StandIn {
    process: Process,
    url: String,
}

impl StandIn {
    pub(crate) async fn start(latency: Duration) -> Self {
        let process = Process::start(&own(STAND_IN).env(LATENCY_MS, &latency.as_millis().to_string()));
        let url = eventually!(SOON, process.told("listens"), Option::is_some, "the stand-in's address");
        Self { process, url: url.expect("awaited") }
    }

    /// For `api.base_url`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// When the first request arrived.
    pub(crate) fn first_post(&self) -> SystemTime {
        let told = self.process.told("first").expect("there was a request");
        UNIX_EPOCH + Duration::from_micros(told.parse().expect("a number"))
    }

    /// Ends it and tells how many requests there were.
    pub(crate) async fn end(self) -> usize {
        self.process.end().await;
        self.process.told("posts").expect("it ends with a number").parse().expect("a number")
    }
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() {
    let latency = Duration::from_millis(told(LATENCY_MS).parse().expect("milliseconds"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut stop = signal(SignalKind::terminate()).expect("a signal handler");
    eprintln!("listens http://{}", listener.local_addr().expect("bound"));
    let posts = Rc::new(Cell::new(0));
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("an open connection");
            spawn_local(serve(stream, latency, Rc::clone(&posts)));
        }
    };
    let tasks = LocalSet::new();
    tokio::select! {
        () = tasks.run_until(accept) => {}
        _ = stop.recv() => eprintln!("posts {}", posts.get()),
    }
}

/// Until the client hangs up, in whatever way.
async fn serve(mut stream: TcpStream, latency: Duration, posts: Rc<Cell<usize>>) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(16_384);
    while let Some(length) = request(&mut stream, &mut buffer).await? {
        buffer.drain(..length);
        posts.set(posts.get() + 1);
        if posts.get() == 1 {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
            eprintln!("first {}", now.as_micros());
        }
        if !latency.is_zero() {
            // It has no condition to wait for: its work is to take time.
            let _elapsed = timeout(latency.saturating_sub(LATE), pending::<()>()).await;
        }
        stream.write_all(ANSWER).await?;
    }
    Ok(())
}

/// Reads until the buffer holds a whole request, and tells its length; `None` when there will be no other.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        match length(buffer) {
            Some(length) if length <= buffer.len() => return Ok(Some(length)),
            _ if stream.read_buf(buffer).await? == 0 => return Ok(None),
            _ => {}
        }
    }
}

/// Of head and body, once the head is complete.
fn length(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let lines = str::from_utf8(&buffer[..head]).expect("ASCII").lines();
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let (_, body) = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length")).expect("a content-length");
    Some(head + body.trim().parse::<usize>().expect("a number"))
}
