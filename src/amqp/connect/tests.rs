//! Connecting to a peer that accepts and says nothing, and what a URL may ask for.

use std::{fs, net::TcpListener};

use tokio::{runtime::Handle, task::yield_now, time::timeout};

use super::*;
use crate::domain::retry;

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
    for (query, heartbeat) in [
        ("", 10),
        ("?heartbeat=0&frame_max=0", 10),
        ("?heartbeat=1&frame_max=1", 1),
        ("?heartbeat=30&frame_max=65536", 30),
        ("?heartbeat=65535&frame_max=4294967295", 60),
    ] {
        let limited = &broker(&format!("amqp://host/v{query}")).uris[0].query;
        assert_eq!((limited.heartbeat, limited.frame_max), (Some(heartbeat), Some(131_072)), "{query}");
    }
}
