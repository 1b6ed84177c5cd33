//! Connecting to a peer that accepts and says nothing, and what a URL may ask for.

use std::{fs, net::TcpListener};

use bytes::Bytes;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::{runtime::Handle, task::yield_now, time::timeout};

use super::*;
use crate::{
    amqp::properties,
    domain::{dead_letter::DeadLetter, reason::Reason, retry},
};

const ATTEMPTS: usize = 5;
/// Long enough for a thread to start on a busy machine.
const SHORT: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(20);

/// A broker at an address, with little patience.
fn broker(url: &str) -> Broker {
    Broker { deadline: SHORT, ..Broker::new(vec![url.parse().unwrap()], OwnedTLSConfig::default()) }
}

/// How many I/O loops of the library this process runs. A thread that ends while we look is not one of them.
fn io_loops() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "lapin-io-loop").count()
}

/// Waits until all that attempts began has ended: threads, tasks and, by the thread that owned them, buffers.
async fn all_ended() {
    let ended = async {
        while io_loops() > 0 || Handle::current().metrics().num_alive_tasks() > 0 {
            yield_now().await;
        }
    };
    let ended = timeout(PATIENCE, ended).await;
    let tasks = Handle::current().metrics().num_alive_tasks();
    assert!(ended.is_ok(), "{} I/O loops and {tasks} tasks are left", io_loops());
}

/// One test for all ways to fail, because I/O loops are counted for the whole process.
#[tokio::test]
async fn nothing_is_left_of_an_attempt_that_failed() {
    // The kernel accepts for a listener that never does.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();

    for scheme in ["amqp", "amqps"] {
        let broker = broker(&format!("{scheme}://{address}"));
        for _ in 0..ATTEMPTS {
            let error = broker.connect("test").await.unwrap_err();
            assert!(matches!(error, SessionError::Deadline { .. }), "{error}");
        }
        all_ended().await;
    }

    let broker = Broker { deadline: PATIENCE, ..broker(&format!("amqp://{address}")) };
    let shaking_hands = async {
        while io_loops() == 0 {
            yield_now().await
        }
    };
    tokio::select! {
        connected = broker.connect("test") => panic!("{connected:?}"),
        () = shaking_hands => {}
    }
    all_ended().await;

    drop(silent);
    for _ in 0..ATTEMPTS {
        let error = broker.connect("test").await.unwrap_err();
        assert!(matches!(error, SessionError::Connect { .. }), "{error}");
    }
    all_ended().await;
}

#[test]
fn the_longest_that_we_stay_away_without_need_is_less_than_15_s() {
    let longest_wait = retry::backoff(u32::MAX, 1.0);
    assert!(CONNECT_DEADLINE + longest_wait < Duration::from_secs(15));
}

#[test]
fn what_a_url_asks_for_is_kept_within_our_limits() {
    for (query, heartbeat, frame_max) in [
        ("", 10, 131_072),
        ("?heartbeat=0&frame_max=0", 10, 131_072),
        ("?heartbeat=1&frame_max=1", 1, 8_192),
        ("?heartbeat=30&frame_max=65536", 30, 65_536),
        ("?heartbeat=65535&frame_max=4294967295", 60, 131_072),
    ] {
        let limited = &broker(&format!("amqp://host/v{query}")).uris[0].query;
        assert_eq!((limited.heartbeat, limited.frame_max), (Some(heartbeat), Some(frame_max)), "{query}");
    }
}

/// AMQP 0-9-1, 2.3.5.2 and 4.2.6.1: what a frame and the head of a content take, and the properties by their lengths.
fn frame_bytes(properties: &BasicProperties) -> usize {
    let texts = [
        properties.content_type(),
        properties.content_encoding(),
        properties.correlation_id(),
        properties.reply_to(),
        properties.message_id(),
        properties.kind(),
        properties.app_id(),
    ];
    let texts: usize = texts.into_iter().flatten().map(|text| 1 + text.as_str().len()).sum();
    let value = |value: &AMQPValue| match value {
        AMQPValue::LongString(text) => 4 + text.as_bytes().len(),
        _ => 8,
    };
    let header = |(name, of): (&ShortString, &AMQPValue)| 1 + name.as_str().len() + 1 + value(of);
    let headers: usize = properties.headers().iter().flat_map(|table| table.inner()).map(header).sum();
    let (frame, head, mode, priority, timestamp, table) = (8, 14, 1, 1, 8, 4);
    frame + head + texts + mode + priority + timestamp + table + headers
}

/// A dead letter has the most of them.
#[test]
fn the_headers_of_what_we_publish_fit_into_one_frame() {
    let long = || "x".repeat(255);
    let mut headers = FieldTable::default();
    for n in 0..1_000 {
        headers.insert(format!("cloudEvents_{n}").into(), AMQPValue::LongString("x".repeat(1_000).into()));
        headers.insert(format!("cloudEvents_n{n}").into(), AMQPValue::Boolean(true));
    }
    let theirs = BasicProperties::default()
        .with_content_type(long().into())
        .with_content_encoding(long().into())
        .with_correlation_id(long().into())
        .with_reply_to(long().into())
        .with_message_id(long().into())
        .with_type(long().into())
        .with_app_id(long().into())
        .with_timestamp(1)
        .with_priority(1)
        .with_headers(headers);
    let letter = DeadLetter {
        reason: Reason::Exhausted,
        http_status: Some(599),
        detail: "x".repeat(1_000).as_str().into(),
        attempts: u32::MAX,
        first_seen_ms: i64::MAX,
        source: [long(), long()].join("/"),
        replay: u32::MAX,
    };
    let written = properties::write(&letter.to_message(Bytes::new(), &properties::read(&theirs)).properties);
    let bytes = frame_bytes(&written);
    assert!((7_000..=usize::try_from(MIN_FRAME_MAX_BYTES).unwrap()).contains(&bytes), "{bytes}");
}
