//! With any answers of the API, a device has one POST at a time and its commands are delivered in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;
use serde_json::json;

use super::{fake_ports::status, test_daemon::TestDaemon};
use crate::{
    domain::properties::{HeaderValue, header},
    pipeline::{Drained, Order},
};

/// Longer than all retries of all commands together.
const EVER: Duration = Duration::from_secs(50_000);

fn run(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(test());
}

/// The numbers of the delivered texts, by device.
fn delivered(daemon: &TestDaemon) -> BTreeMap<String, Vec<usize>> {
    let mut delivered = BTreeMap::<_, Vec<_>>::new();
    for text in daemon.fakes.delivered_texts() {
        let (device, nth) = text.split_once(' ').unwrap();
        delivered.entry(device.to_owned()).or_default().push(nth.parse().unwrap());
    }
    delivered
}

/// The device of each command, and the seconds until it expires.
type Commands = Vec<(u8, Option<u32>)>;

fn commands() -> impl Strategy<Value = Commands> {
    prop::collection::vec((0_u8..3, prop::option::weighted(0.1, 1_u32..600)), 1..30)
}

/// Whether each POST fails.
fn failed() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(prop::bool::weighted(0.4), 0..90)
}

fn start(commands: &Commands, failed: Vec<bool>) -> TestDaemon {
    let mut daemon = TestDaemon::start_with(|settings| {
        settings.order = Order::Device;
        settings.prefetch = 80;
    });
    daemon.fakes.set_latency(Duration::from_millis(2));
    daemon.fakes.script_evidence(failed.into_iter().map(|failed| status(if failed { 503 } else { 200 })));
    for (nth, (device, expires_s)) in commands.iter().enumerate() {
        let mut more = json!({"deviceAddress": device.to_string()});
        if let Some(seconds) = expires_s {
            let at = format!("2026-11-22T12:{:02}:{:02}Z", seconds / 60, seconds % 60);
            more["expiresAt"] = at.into();
        }
        daemon.deliver(&format!("{device} {nth}"), more);
    }
    daemon
}

/// Asserts the order and one outcome for each command; returns the number of events.
fn assert_order_and_outcomes(daemon: &TestDaemon, commands: &Commands) -> usize {
    assert!(
        daemon.fakes.max_posts_per_device() <= 1,
        "{} POSTs at once for a device",
        daemon.fakes.max_posts_per_device()
    );
    for (device, nth) in delivered(daemon) {
        assert!(nth.is_sorted_by(|a, b| a < b), "device {device}: {nth:?}");
    }
    let (mut outcomes, events) = (BTreeMap::<_, BTreeSet<_>>::new(), daemon.fakes.events());
    for event in &events {
        outcomes.entry(event["commandId"].to_string()).or_default().insert(event["eventId"].to_string());
    }
    assert_eq!(outcomes.len(), commands.len(), "each command has an outcome");
    assert!(outcomes.values().all(|ids| ids.len() == 1), "one outcome only: {outcomes:?}");
    assert_eq!(daemon.in_hand(), 0, "no command is left in hand");
    events.len()
}

#[tokio::test(start_paused = true)]
async fn command_waits_for_none_that_may_return_elsewhere() {
    let is_shared = tokio::sync::watch::Sender::new(false);
    let mut daemon = TestDaemon::start_with(|settings| {
        settings.order = Order::Device;
        settings.is_shared = is_shared.subscribe();
    });
    let not_before = HeaderValue::Int(1_795_348_800_000 + 3_000_000);
    let body = json!({"commandId": "c", "text": "1", "channelType": "MOBILE", "deviceAddress": "a"}).to_string();
    daemon.deliver_raw(body.into_bytes(), |delivery| {
        delivery.properties.headers.insert(header::NOT_BEFORE.into(), not_before);
    });
    daemon.advance(Duration::from_secs(1)).await;
    assert_eq!(daemon.fakes.delayed_tiers(), ["10m"], "the tier's copy returns to another daemon");
    is_shared.send_replace(true);
    daemon.advance(Duration::from_secs(1)).await;
    daemon.deliver("2", json!({"channelType": "MOBILE", "deviceAddress": "a"}));
    daemon.advance(Duration::from_secs(1)).await;
    assert_eq!(daemon.fakes.delivered_texts(), ["2"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn device_has_one_post_at_a_time_in_order(
        commands in commands(), failed in failed(),
    ) {
        run(async || {
            let daemon = start(&commands, failed);
            daemon.advance(EVER).await;
            assert_eq!(assert_order_and_outcomes(&daemon, &commands), commands.len(), "one event each");
            assert_eq!(daemon.drain().await, Drained::Complete);
        });
    }

    #[test]
    fn lost_sessions_keep_order_and_outcomes(
        commands in commands(), failed in failed(), losses_ms in prop::collection::vec(1_u64..3_000, 1..6),
    ) {
        run(async || {
            let daemon = start(&commands, failed);
            for at_ms in losses_ms {
                daemon.advance(Duration::from_millis(at_ms)).await;
                daemon.fakes.lose_session();
                daemon.fakes.redeliver();
            }
            daemon.advance(EVER).await;
            assert_order_and_outcomes(&daemon, &commands);
            assert_eq!(daemon.drain().await, Drained::Complete);
        });
    }
}
