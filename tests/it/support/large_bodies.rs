//! Messages far larger than a command, among small commands: the bodies in hand are bounded from the first delivery on.

use std::collections::BTreeSet;

use lapin::BasicProperties;

use super::{
    TIMEOUT,
    daemon::{Daemon, DaemonBuilder},
    eventually::eventually,
    fixture::{Fixture, command, id, start_ready, wait_ready},
};

const MIB: usize = 1 << 20;
/// At the default of `limits.max_bytes_in_hand`.
const MAX_PEAK_MIB: u64 = 160;
/// Small commands on either side of the large messages: enough that the daemon takes many at once before the first large one.
const SMALL: u16 = 300;

async fn declare(fixture: &Fixture) {
    let declaring = start_ready(&fixture.builder()).await;
    declaring.signal("TERM");
    assert_eq!(declaring.wait_exit(TIMEOUT).await, 0);
}

async fn publish_large(fixture: &Fixture, large: u32, mib: usize) {
    let (client, commands, body) = (fixture.queues.client(), fixture.queues.name("commands"), vec![b'x'; mib * MIB]);
    for _ in 0..large {
        client.publish(&commands, "send", &body, BasicProperties::default()).await;
    }
}

async fn publish_small(fixture: &Fixture, indices: std::ops::Range<u16>) {
    for index in indices {
        fixture.queues.send(&command(index, "hello")).await;
    }
}

/// Waits until all messages have their outcome; the daemon is still the same process. Dead letters may come twice after a lost
/// session.
async fn expect_outcomes(fixture: &Fixture, daemon: &Daemon, large: u32) {
    let dead = fixture.queues.name("dead");
    let depth = async || fixture.queues.client().depth(&dead).await;
    eventually!(4 * TIMEOUT, depth().await >= large || !daemon.is_running(), "a dead letter of each large body");
    assert!(daemon.is_running(), "the daemon runs out of memory");
    let finished = async || daemon.metric("courier_commands_finished_total", &[("outcome", "succeeded")]).await;
    eventually!(TIMEOUT, finished().await >= f64::from(2 * SMALL), "the small commands");
    wait_ready(daemon).await;
    fixture.drain(daemon).await;
    let events = fixture.queues.client().depth(&fixture.queues.name("events")).await;
    let events = fixture.queues.events(u16::try_from(events).expect("few")).await;
    let new: Vec<_> = events.iter().filter(|event| event["repeated"] == false).collect();
    assert!(new.iter().all(|event| event["outcome"] == "succeeded" && event["possibleDuplicate"] == false), "{new:?}");
    let ids: BTreeSet<_> = new.into_iter().map(id).collect();
    assert!((0..2 * SMALL).all(|index| ids.contains(format!("c-{index}").as_str())), "an event of each small command");
}

async fn peak_mib(daemon: &Daemon) -> u64 {
    let (peak, sessions) = (daemon.peak_rss_bytes() >> 20, daemon.metric("courier_reconnects_total", &[]).await);
    println!("{peak} MiB at the peak, {sessions} lost sessions");
    peak
}

/// Asserts the peak memory of a daemon that starts with a backlog: small commands, messages of 15 MiB, small commands.
pub(crate) async fn check_peak_behind_small_commands(test: &str, large: u32) {
    let fixture = Fixture::new(test).await;
    declare(&fixture).await;
    publish_small(&fixture, 0..SMALL).await;
    publish_large(&fixture, large, 15).await;
    publish_small(&fixture, SMALL..2 * SMALL).await;
    let daemon = fixture.builder().start().await;
    let succeeded = async || daemon.metric("courier_commands_finished_total", &[("outcome", "succeeded")]).await;
    eventually!(4 * TIMEOUT, succeeded().await >= f64::from(2 * SMALL), "the small commands");
    assert!(peak_mib(&daemon).await < MAX_PEAK_MIB);
    expect_outcomes(&fixture, &daemon, large).await;
}

/// Asserts the peak memory of a busy daemon whose gate closes, and opens before messages of 15 MiB.
pub(crate) async fn check_peak_behind_closed_gate(test: &str, large: u32) {
    let fixture = Fixture::new(test).await;
    let daemon = start_ready(&fixture.builder().set("admin.token", "s3cret")).await;
    publish_small(&fixture, 2 * SMALL..4 * SMALL).await;
    fixture.queues.events(2 * SMALL).await;
    assert_eq!(daemon.post("/pause", Some("s3cret")).await.0, 200);
    eventually!(TIMEOUT, daemon.metric("courier_consumer_active", &[]).await == 0.0, "no active consumer");
    publish_large(&fixture, large, 15).await;
    publish_small(&fixture, 0..2 * SMALL).await;
    assert_eq!(daemon.post("/resume", Some("s3cret")).await.0, 200);
    let succeeded = async || daemon.metric("courier_commands_finished_total", &[("outcome", "succeeded")]).await;
    eventually!(4 * TIMEOUT, succeeded().await >= f64::from(4 * SMALL), "the small commands");
    assert!(peak_mib(&daemon).await < MAX_PEAK_MIB);
    let sessions = daemon.metric("courier_reconnects_total", &[]).await;
    assert_eq!(sessions, 0.0, "a session begins with few after a closed gate");
    expect_outcomes(&fixture, &daemon, large).await;
}

/// Asserts that a daemon with 256 MiB of memory starts with a backlog of messages of 8 MiB, and sends the commands among them.
pub(crate) async fn check_start_with_little_memory(test: &str, large: u32) {
    let fixture = Fixture::new(test).await;
    declare(&fixture).await;
    publish_small(&fixture, 0..SMALL).await;
    publish_large(&fixture, large, 8).await;
    publish_small(&fixture, SMALL..2 * SMALL).await;
    let program = ["--data=268435456", env!("CARGO_BIN_EXE_edna-courier"), "run"];
    let api = format!("http://{}", fixture.sandbox.addr());
    let builder = DaemonBuilder::for_program("prlimit", &program).queues(&fixture.queues);
    let daemon = builder.set("api.base_url", &api).set("api.token", "t").start().await;
    expect_outcomes(&fixture, &daemon, large).await;
}
