//! Messages far larger than a command: the bodies in hand are bounded from the first delivery on.

use lapin::BasicProperties;

use crate::support::{
    TIMEOUT,
    daemon::{Daemon, DaemonBuilder},
    eventually::eventually,
    fixture::{Fixture, command, start_ready, wait_ready},
};

const MIB: usize = 1 << 20;
const LARGE: u32 = 20;
const SMALL: u16 = 10;

/// Declares the topology and publishes large bodies, followed by small commands.
async fn publish(fixture: &Fixture, large_bytes: usize) {
    let declaring = start_ready(&fixture.builder()).await;
    declaring.signal("TERM");
    assert_eq!(declaring.wait_exit(TIMEOUT).await, 0);
    let (client, commands, body) = (fixture.queues.client(), fixture.queues.name("commands"), vec![b'x'; large_bytes]);
    for _ in 0..LARGE {
        client.publish(&commands, "send", &body, BasicProperties::default()).await;
    }
    for index in 0..SMALL {
        fixture.queues.send(&command(index, "hello")).await;
    }
}

/// Waits until all messages have their outcome; the daemon is still the same process.
async fn expect_outcomes(fixture: &Fixture, daemon: &Daemon) {
    let dead = fixture.queues.name("dead");
    let depth = async || fixture.queues.client().depth(&dead).await;
    eventually!(2 * TIMEOUT, depth().await == LARGE || !daemon.is_running(), "a dead letter of each large body");
    assert!(daemon.is_running(), "the daemon runs out of memory");
    fixture.expect_all_succeeded(SMALL).await;
    wait_ready(daemon).await;
}

#[tokio::test]
async fn large_bodies_keep_peak_memory_bounded() {
    let fixture = Fixture::new("large-peak").await;
    publish(&fixture, 15 * MIB).await;
    let daemon = fixture.builder().start().await;
    expect_outcomes(&fixture, &daemon).await;
    let peak = daemon.peak_rss_bytes() / MIB as u64;
    assert!(peak < 160, "{peak} MiB at the peak");
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn large_bodies_fit_into_256_mib_of_data() {
    let fixture = Fixture::new("large-limit").await;
    publish(&fixture, 8 * MIB).await;
    let script = "ulimit -d 262144; exec \"$0\" run";
    let limited = DaemonBuilder::for_program("sh", &["-c", script, env!("CARGO_BIN_EXE_edna-courier")]);
    let api = format!("http://{}", fixture.sandbox.addr());
    let builder = limited.queues(&fixture.queues).set("api.base_url", &api).set("api.token", "t");
    let daemon = builder.start().await;
    expect_outcomes(&fixture, &daemon).await;
    fixture.drain(&daemon).await;
}
