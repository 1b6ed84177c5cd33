//! Commands that wait hold up nobody else: simulations with a model of the broker's queue.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    queue_model::{POST_TIME, QueueModel},
    test_daemon,
};
use crate::{
    domain::{
        rate::Rates,
        retry::{Delay, delay_after},
        tier::{Tier, Tiers},
    },
    gate::Gate,
    pipeline::{Concurrency, Order, Pipeline, PipelineSettings},
    telemetry::{Telemetry, TelemetryLimits},
};

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn tiers(lengths_s: &[u64]) -> Tiers {
    let tier = |length: &u64| Tier { length: s(*length), name: format!("{length}s") };
    Tiers::new(lengths_s.iter().map(tier).collect()).unwrap()
}

/// The settings of a daemon with the default limits, in order per device.
fn settings(tiers: &Tiers) -> PipelineSettings {
    PipelineSettings {
        order: Order::Device,
        concurrency: Concurrency::Adaptive(4, 64),
        prefetch: 96,
        tiers: tiers.clone(),
        ..test_daemon::settings()
    }
}

/// Starts a daemon that works until the end of the test.
fn start(model: &QueueModel, settings: PipelineSettings) {
    let limits = TelemetryLimits { max_in_flight: 64, prefetch: 96 };
    let telemetry = Telemetry::new(limits, &settings.tiers).unwrap();
    let pipeline = Pipeline::new(settings, model.clone(), Gate::default(), telemetry, CancellationToken::new());
    tokio::spawn(pipeline.run(model.inbox()));
}

/// A command that fails this often first.
fn command(device: usize, nth: usize, failures: u32) -> Value {
    json!({"commandId": format!("{device}-{nth}"), "text": format!("{device} {nth} {failures}"),
        "channelType": "WHATSAPP", "deviceAddress": device.to_string()})
}

/// A linear congruential generator (Knuth's MMIX): the same numbers in each run.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// 15 % of the commands fail one, two or four times.
    fn failures(&mut self) -> u32 {
        if self.below(100) >= 15 { 0 } else { [1, 2, 4][usize::try_from(self.below(3)).unwrap()] }
    }
}

/// The time that a command needs alone.
fn time_alone(failures: u32, tiers: &Tiers) -> Duration {
    let delay = |attempts| match delay_after(attempts, 0.5) {
        Delay::InProcess(wait) => wait,
        Delay::InTier(turn) => tiers.get(tiers.for_turn(turn)).unwrap().length,
    };
    (1..=failures).map(delay).sum::<Duration>() + POST_TIME * (failures + 1)
}

/// Runs until this number of events is published.
async fn run_until(model: &QueueModel, events: usize, limit: Duration) {
    let deadline = tokio::time::Instant::now() + limit;
    while model.event_count() < events && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(model.event_count(), events, "events within {limit:?}");
}

/// `commands` commands for each of `devices` devices, one of each device in turn, with the time that the slowest device
/// needs alone.
fn failing_load(devices: usize, commands: usize, seed: u64, tiers: &Tiers) -> (Vec<(usize, Value)>, Duration) {
    let (mut random, mut alone, mut bodies) = (Lcg(seed), BTreeMap::<_, Duration>::new(), Vec::new());
    for (nth, device) in (0..commands).flat_map(|nth| (0..devices).map(move |device| (nth, device))) {
        let failures = random.failures();
        *alone.entry(device).or_default() += time_alone(failures, tiers);
        bodies.push((device, command(device, nth, failures)));
    }
    (bodies, alone.into_values().max().unwrap())
}

/// Asserts that all finish within one and a half times the time that the slowest device needs alone.
async fn check_failing_load((commands, alone): (Vec<(usize, Value)>, Duration), tiers: &Tiers) {
    let model = QueueModel::new(tiers, 96);
    commands.iter().for_each(|(_, body)| model.enqueue(body));
    start(&model, settings(tiers));
    run_until(&model, commands.len(), 4 * alone).await;
    let (took, copies) = (model.times().max().unwrap(), model.copies());
    assert!(took <= alone.mul_f64(1.5), "{took:?}; the delays of the slowest device take {alone:?}");
    assert!(copies <= 5 * commands.len(), "{copies} copies of {} commands", commands.len());
}

#[tokio::test(start_paused = true)]
async fn failing_devices_take_little_longer_than_their_delays() {
    let tiers = tiers(&[1, 2, 4]);
    check_failing_load(failing_load(100, 60, 1, &tiers), &tiers).await;
}

#[tokio::test(start_paused = true)]
async fn failing_devices_one_after_the_other_take_little_longer() {
    let tiers = tiers(&[1, 2, 4]);
    let (mut commands, alone) = failing_load(50, 40, 2, &tiers);
    commands.sort_by_key(|(device, _)| *device);
    check_failing_load((commands, alone), &tiers).await;
}

#[tokio::test(start_paused = true)]
async fn failing_devices_with_long_tiers_take_little_longer() {
    let tiers = tiers(&[5, 30, 120]);
    check_failing_load(failing_load(50, 40, 3, &tiers), &tiers).await;
}

/// A daemon with these rates, and `slow` commands of each of the classes before ten others. Asserts that those are
/// attempted within `others_within`, and all within `slack` times what the rates need, with at most six copies per command.
async fn check_classes(rates: &[(&str, f64)], slow: usize, order: Order, others_within: Duration, slack: f64) {
    let tiers = Tiers::default();
    let model = QueueModel::new(&tiers, 96);
    for nth in 0..slow {
        for (channel, _) in rates {
            model.enqueue(&in_channel(channel, nth));
        }
    }
    (0..10).for_each(|nth| model.enqueue(&in_channel("MOBILE", nth)));
    let classes = rates.iter().map(|(_, rate)| Some(*rate)).collect();
    let rates_setting = watch::Sender::new(Rates { classes, ..Rates::default() }).subscribe();
    let channels = rates.iter().map(|(channel, _)| (*channel).to_owned()).collect();
    start(&model, PipelineSettings { order, channels, rates: rates_setting, ..settings(&tiers) });
    let total = slow * rates.len() + 10;
    let slowest = rates.iter().map(|(_, rate)| *rate).fold(f64::INFINITY, f64::min);
    let unavoidable = Duration::from_secs_f64(slow as f64 / slowest);
    run_until(&model, total, 3 * unavoidable).await;
    let others = model.events().into_iter().filter(|(_, event)| event["channelType"] == "MOBILE");
    let last_other = others.map(|(at, _)| at).max().unwrap();
    let (took, all_copies) = (model.times().max().unwrap(), model.copies());
    assert!(last_other <= others_within, "the others went after {last_other:?}");
    assert!(took <= unavoidable.mul_f64(slack), "{took:?} instead of {unavoidable:?}");
    assert!(all_copies <= 6 * total, "{all_copies} copies of {total} commands");
}

fn in_channel(channel: &str, nth: usize) -> Value {
    json!({"commandId": format!("{channel}-{nth}"), "text": "0", "channelType": channel,
        "deviceAddress": nth.to_string()})
}

#[tokio::test(start_paused = true)]
async fn slow_class_delays_no_other_class() {
    check_classes(&[("WHATSAPP", 1.0)], 500, Order::None, s(2), 1.3).await;
    check_classes(&[("WHATSAPP", 1.0)], 500, Order::Device, s(2), 1.3).await;
}

/// The configured prefetch holds less than a second of these classes' work, and the largest less than the shortest tier at
/// 400 a second: then the class waits for returning copies.
#[tokio::test(start_paused = true)]
async fn fast_class_delays_no_other_class() {
    check_classes(&[("WHATSAPP", 100.0)], 3_000, Order::None, s(3), 1.3).await;
    check_classes(&[("WHATSAPP", 100.0)], 3_000, Order::Device, s(3), 1.3).await;
    check_classes(&[("WHATSAPP", 400.0)], 20_000, Order::None, s(8), 2.0).await;
}

/// Its commands wait for the API.
#[tokio::test(start_paused = true)]
async fn class_within_its_rate_stays_in_hand() {
    let tiers = Tiers::default();
    let model = QueueModel::new(&tiers, 96);
    (0..2_000).for_each(|nth| model.enqueue(&in_channel("WHATSAPP", nth)));
    let rates = Rates { classes: vec![Some(1_000.0)], ..Rates::default() };
    let (rates, channels) = (watch::Sender::new(rates).subscribe(), vec!["WHATSAPP".to_owned()]);
    start(&model, PipelineSettings { channels, rates, concurrency: Concurrency::Fixed(1), ..settings(&tiers) });
    run_until(&model, 2_000, s(60)).await;
    assert_eq!(model.copies(), 0);
}

#[tokio::test(start_paused = true)]
async fn several_slow_classes_delay_no_other_class() {
    check_classes(&[("A", 1.0), ("B", 2.0), ("C", 5.0), ("D", 1.0)], 200, Order::None, s(2), 1.3).await;
    check_classes(&[("WHATSAPP", 40.0)], 2_000, Order::None, s(5), 1.3).await;
}

#[tokio::test(start_paused = true)]
async fn device_interval_delays_no_other_device() {
    let tiers = Tiers::default();
    let model = QueueModel::new(&tiers, 96);
    (0..300).for_each(|nth| model.enqueue(&command(0, nth, 0)));
    (1..=10).for_each(|device| model.enqueue(&command(device, 0, 0)));
    let rates = Rates { key_interval: s(1), ..Rates::default() };
    start(&model, PipelineSettings { rates: watch::Sender::new(rates).subscribe(), ..settings(&tiers) });
    run_until(&model, 310, s(1_000)).await;
    let events = model.events();
    let of_device: Vec<_> =
        events.iter().filter(|(_, event)| event["commandId"].as_str().unwrap().starts_with("0-")).collect();
    let ids: Vec<_> = of_device.iter().map(|(_, event)| event["commandId"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, (0..300).map(|nth| format!("0-{nth}")).collect::<Vec<_>>(), "in order");
    let others = events.iter().filter(|(_, event)| !event["commandId"].as_str().unwrap().starts_with("0-"));
    assert!(others.map(|(at, _)| *at).max().unwrap() < s(1));
    let took = of_device.last().unwrap().0;
    assert!(took <= s(330) && model.copies() <= 6 * 300, "{took:?}, {} copies", model.copies());
}

#[tokio::test(start_paused = true)]
async fn target_rate_sends_no_command_round() {
    let tiers = Tiers::default();
    let model = QueueModel::new(&tiers, 96);
    for nth in 0..200 {
        model.enqueue(&command(nth % 50, nth, 0));
    }
    let rates = Rates { target: Some(1.0), ..Rates::default() };
    start(&model, PipelineSettings { rates: watch::Sender::new(rates).subscribe(), ..settings(&tiers) });
    run_until(&model, 200, s(300)).await;
    assert_eq!(model.copies(), 0);
}
