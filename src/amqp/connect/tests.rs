//! Connecting to a peer that accepts and stays silent, and the limits on URL parameters.

use std::{fs, net::TcpListener};

use tokio::{runtime::Handle, task::yield_now, time::timeout};

use super::*;
use crate::domain::retry;

const ATTEMPTS: usize = 5;
/// Long enough for a thread to start on a busy machine.
const SHORT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(20);

fn addresses(url: &str, connect_timeout: Duration) -> BrokerAddresses {
    BrokerAddresses { connect_timeout, ..BrokerAddresses::new(vec![url.parse().unwrap()], OwnedTLSConfig::default()) }
}

/// Number of the library's I/O loops in this process. A thread that ends during the scan is not counted.
fn io_loops() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "lapin-io-loop").count()
}

/// Waits until every thread and task of the attempts has ended; the buffers go with their thread.
async fn expect_no_leak() {
    let ended = async {
        while io_loops() > 0 || Handle::current().metrics().num_alive_tasks() > 0 {
            yield_now().await;
        }
    };
    let ended = timeout(LONG, ended).await;
    let tasks = Handle::current().metrics().num_alive_tasks();
    assert!(ended.is_ok(), "{} I/O loops and {tasks} tasks are left", io_loops());
}

/// One test for all kinds of failure, because I/O loops are counted for the whole process.
#[tokio::test]
async fn connect_failed_attempt_leaks_nothing() {
    // The kernel accepts for a listener that never does.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();

    for scheme in ["amqp", "amqps"] {
        let broker = addresses(&format!("{scheme}://{address}"), SHORT);
        for _ in 0..ATTEMPTS {
            let error = broker.connect(0, "test").await.unwrap_err();
            assert!(matches!(error, SessionError::Timeout { .. }), "{error}");
        }
        expect_no_leak().await;
    }

    let broker = addresses(&format!("amqp://{address}"), LONG);
    let handshake_started = async {
        while io_loops() == 0 {
            yield_now().await
        }
    };
    tokio::select! {
        connected = broker.connect(0, "test") => panic!("{connected:?}"),
        () = handshake_started => {}
    }
    expect_no_leak().await;

    drop(silent);
    for _ in 0..ATTEMPTS {
        let error = broker.connect(0, "test").await.unwrap_err();
        assert!(matches!(error, SessionError::Connect { .. }), "{error}");
    }
    expect_no_leak().await;
}

#[test]
fn connect_longest_attempt_and_backoff_are_below_15_s() {
    let longest_backoff = retry::backoff(u32::MAX, 1.0);
    assert!(CONNECT_TIMEOUT + longest_backoff < Duration::from_secs(15));
}

#[test]
fn url_parameters_are_kept_within_limits() {
    for (query, heartbeat) in [
        ("", 4),
        ("?heartbeat=0&frame_max=0", 4),
        ("?heartbeat=1&frame_max=1", 1),
        ("?heartbeat=30&frame_max=65536", 30),
        ("?heartbeat=65535&frame_max=4294967295", 60),
    ] {
        let limited = &addresses(&format!("amqp://host/v{query}"), SHORT).uris[0].query;
        assert_eq!((limited.heartbeat, limited.frame_max), (Some(heartbeat), Some(131_072)), "{query}");
    }
}
