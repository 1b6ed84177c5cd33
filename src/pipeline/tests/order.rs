//! Whatever the API does: a device has one POST at a time, and what is taken is taken in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;
use serde_json::json;

use super::{daemon::Daemon, world::status};
use crate::pipeline::{Drained, Order};

/// Longer than all retries of all commands together.
const EVER: Duration = Duration::from_secs(50_000);

fn run(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(test());
}

/// The numbers of the texts that were taken, by device.
fn taken(daemon: &Daemon) -> BTreeMap<String, Vec<usize>> {
    let mut taken = BTreeMap::<_, Vec<_>>::new();
    for text in daemon.world.taken() {
        let (device, nth) = text.split_once(' ').unwrap();
        taken.entry(device.to_owned()).or_default().push(nth.parse().unwrap());
    }
    taken
}

/// The device of each command, and after how many seconds it expires.
type Commands = Vec<(u8, Option<u32>)>;

fn commands() -> impl Strategy<Value = Commands> {
    prop::collection::vec((0_u8..3, prop::option::weighted(0.1, 1_u32..600)), 1..30)
}

/// Whether each POST fails.
fn failed() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(prop::bool::weighted(0.4), 0..90)
}

fn begin(commands: &Commands, failed: Vec<bool>) -> Daemon {
    let mut daemon = Daemon::start_with(|rules| {
        rules.order = Order::Device;
        rules.prefetch = 80;
    });
    daemon.world.slow_down(Duration::from_millis(2));
    daemon.world.script(failed.into_iter().map(|failed| status(if failed { 503 } else { 200 })));
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

/// Order, and one outcome for each; how many events told it.
fn expect_order_and_one_outcome(daemon: &Daemon, commands: &Commands) -> usize {
    assert!(daemon.world.most_of_one() <= 1, "{} POSTs at once for a device", daemon.world.most_of_one());
    for (device, nth) in taken(daemon) {
        assert!(nth.is_sorted_by(|a, b| a < b), "device {device}: {nth:?}");
    }
    let (mut told, events) = (BTreeMap::<_, BTreeSet<_>>::new(), daemon.world.events());
    for event in &events {
        told.entry(event["commandId"].to_string()).or_default().insert(event["eventId"].to_string());
    }
    assert_eq!(told.len(), commands.len(), "each is told");
    assert!(told.values().all(|ids| ids.len() == 1), "by one outcome: {told:?}");
    assert_eq!(daemon.in_hand(), 0, "nobody waits for ever");
    events.len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_device_has_one_post_at_a_time_and_what_is_taken_is_taken_in_order(
        commands in commands(), failed in failed(),
    ) {
        run(async || {
            let daemon = begin(&commands, failed);
            daemon.pass(EVER).await;
            assert_eq!(expect_order_and_one_outcome(&daemon, &commands), commands.len(), "told once");
            assert_eq!(daemon.drain().await, Drained::Complete);
        });
    }

    #[test]
    fn sessions_that_are_lost_cost_neither_order_nor_an_outcome(
        commands in commands(), failed in failed(), losses_ms in prop::collection::vec(1_u64..3_000, 1..6),
    ) {
        run(async || {
            let daemon = begin(&commands, failed);
            for moment_ms in losses_ms {
                daemon.pass(Duration::from_millis(moment_ms)).await;
                daemon.world.lose_session();
                daemon.world.redeliver();
            }
            daemon.pass(EVER).await;
            expect_order_and_one_outcome(&daemon, &commands);
            assert_eq!(daemon.drain().await, Drained::Complete);
        });
    }
}
