//! A stub of the API with minimal CPU cost: it accepts every request after a fixed latency and counts the requests. The
//! sandbox records them, which costs more.

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
    args::{STUB_API, this_executable},
    process::Process,
    support::{TIMEOUT, eventually::eventually},
};

const LATENCY_MS: &str = "BENCH_LATENCY_MS";
/// Subtracted from each wait, as Tokio and the kernel round timers up: without it, clients of an idle machine see a mean
/// latency of 51.9 ms for 50 ms.
const TIMER_ERROR: Duration = Duration::from_micros(1_500);
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 81\r\n\r\n\
    { \"id\": 1, \"threadId\": 2, \"clientId\": 1, \"clientExternalId\": null, \"agentId\": 3 }";

/// A stub process.
pub(crate) struct StubApi {
    process: Process,
    url: String,
}

impl StubApi {
    pub(crate) async fn start(latency: Duration) -> Self {
        let process = Process::start(&this_executable(STUB_API).env(LATENCY_MS, &latency.as_millis().to_string()));
        let url = eventually!(TIMEOUT, process.logged("listens"), Option::is_some, "the address of the stub");
        Self { process, url: url.expect("checked above") }
    }

    /// The value for `api.base_url`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The time of the first request.
    pub(crate) fn first_post(&self) -> SystemTime {
        let time_us = self.process.logged("first").expect("a request");
        UNIX_EPOCH + Duration::from_micros(time_us.parse().expect("a number"))
    }

    /// Stops the process; returns the number of requests.
    pub(crate) async fn stop(self) -> usize {
        self.process.stop().await;
        self.process.logged("posts").expect("the number of requests").parse().expect("a number")
    }
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() {
    let latency =
        Duration::from_millis(std::env::var(LATENCY_MS).expect("set by the benchmark").parse().expect("milliseconds"));
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

/// Serves one connection until the client closes it.
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
            // Waits for the time alone.
            let _elapsed = timeout(latency.saturating_sub(TIMER_ERROR), pending::<()>()).await;
        }
        stream.write_all(RESPONSE).await?;
    }
    Ok(())
}

/// Reads until the buffer holds a complete request and returns its length; `None` at EOF.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        match length(buffer) {
            Some(length) if length <= buffer.len() => return Ok(Some(length)),
            _ if stream.read_buf(buffer).await? == 0 => return Ok(None),
            _ => {}
        }
    }
}

/// The length of the request, once its head is complete.
fn length(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let lines = str::from_utf8(&buffer[..head]).expect("ASCII").lines();
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let (_, body) = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length")).expect("a content-length");
    Some(head + body.trim().parse::<usize>().expect("a number"))
}
