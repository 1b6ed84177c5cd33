//! The concurrency limit against a simulated API: how much it learns, and how fast.

mod simulation;

use std::time::Duration;

use proptest::{collection::vec, prelude::*};

use self::simulation::{Interval, SimulatedApi, simulate};
use super::{ConcurrencyLimit, Sample};

const ROUND_TRIP: Duration = Duration::from_millis(50);

fn adaptive() -> ConcurrencyLimit {
    ConcurrencyLimit::adaptive(2, 512)
}

/// The highest throughput of an API with this capacity, per second.
fn best_throughput(capacity: f64) -> f64 {
    capacity / ROUND_TRIP.as_secs_f64()
}

fn assert_learned(case: &str, interval: &Interval, best: f64, least_share: f64) {
    assert!(interval.throughput() >= least_share * best, "{case}: {interval:?}, best {best}/s");
    assert!(interval.refused_share() < 0.02, "{case}: {interval:?}");
}

#[test]
fn adaptive_hidden_capacity_is_found() {
    for capacity in [8.0, 64.0, 200.0] {
        let report = simulate(adaptive(), |_| SimulatedApi::queueing(capacity), 60, 1);
        // The slow start overshoots for a second.
        assert_learned("early", &report.between(2, 60), best_throughput(capacity), 0.8);
        assert_learned("late", &report.between(30, 60), best_throughput(capacity), 0.9);
    }
}

#[test]
fn adaptive_changed_capacity_is_followed() {
    let capacity = |now_s: f64| if (60.0..120.0).contains(&now_s) { 32.0 } else { 64.0 };
    let report = simulate(adaptive(), |now_s| SimulatedApi::queueing(capacity(now_s)), 180, 1);
    assert_learned("halved", &report.between(90, 120), best_throughput(32.0), 0.8);
    assert_learned("doubled", &report.between(150, 180), best_throughput(64.0), 0.8);
    assert_learned("overall", &report.between(0, 180), best_throughput(53.0), 0.8);
}

#[test]
fn adaptive_unlimited_api_reaches_the_ceiling() {
    let report = simulate(adaptive(), |_| SimulatedApi::unlimited(), 30, 1);
    assert!(report.between(20, 30).throughput() >= 0.9 * best_throughput(512.0), "{report:?}");
    assert!(report.between(2, 30).throughput() >= 0.9 * best_throughput(512.0), "too slow: {report:?}");
}

/// Load shedding with failures is not distinguishable from other failures, but must not be driven further.
#[test]
fn adaptive_shedding_api_fails_a_minority() {
    for capacity in [16.0, 64.0] {
        let limit = ConcurrencyLimit::adaptive(2, 256);
        let report = simulate(limit, |_| SimulatedApi::shedding(capacity), 60, 1).between(10, 60);
        assert!(report.refused_share() < 0.35, "{capacity}: {report:?}");
        assert!(report.throughput() >= 0.75 * best_throughput(capacity), "{capacity}: {report:?}");
    }
}

/// Log-normal latency with the 99th percentile at four times the median.
#[test]
fn adaptive_noisy_latency_keeps_the_limit() {
    for seed in [1, 2] {
        let report = simulate(adaptive(), |_| SimulatedApi::queueing(64.0).noisy(), 60, seed);
        // The mean of the noise is above its median.
        let fixed = ConcurrencyLimit::fixed(80);
        let fixed = simulate(fixed, |_| SimulatedApi::queueing(64.0).noisy(), 60, seed).between(30, 60);
        assert_learned("queueing", &report.between(30, 60), fixed.throughput(), 0.7);

        let limit = ConcurrencyLimit::adaptive(2, 128);
        let report = simulate(limit, |_| SimulatedApi::unlimited().noisy(), 30, seed);
        let fixed = ConcurrencyLimit::fixed(128);
        let fixed = simulate(fixed, |_| SimulatedApi::unlimited().noisy(), 30, seed).between(10, 30);
        assert_learned("unlimited", &report.between(10, 30), fixed.throughput(), 0.7);
    }
}

/// The API becomes slower whatever the load, so a lower limit does not help.
#[test]
fn adaptive_slower_api_becomes_the_baseline() {
    let api = |now_s| if now_s < 20.0 { SimulatedApi::unlimited() } else { SimulatedApi::unlimited().slower(3.0) };
    let report = simulate(ConcurrencyLimit::adaptive(2, 128), api, 60, 1);
    assert!(report.between(40, 60).throughput() >= 0.9 * 128.0 / 0.15, "{report:?}");
}

#[test]
fn adaptive_one_slow_response_changes_nothing() {
    let mut limit = settled(64);
    let before = limit.current();
    limit.start_attempt(ROUND_TRIP);
    limit.finish_attempt(Duration::from_secs(60), Duration::from_secs(30), Sample::Delivered);
    deliver(&mut limit, Duration::from_secs(60), 10 * 64);
    assert!(limit.current() >= before, "{limit:?}");
}

#[test]
fn adaptive_overloads_in_one_round_trip_decrease_once() {
    let mut limit = settled(64);
    let now = Duration::from_secs(100);
    (0..40).for_each(|_| limit.start_attempt(now));
    (0..40).for_each(|_| limit.finish_attempt(now, ROUND_TRIP, Sample::Overload));
    assert_eq!(limit.current(), 48);
    limit.start_attempt(now);
    limit.finish_attempt(now + 3 * ROUND_TRIP, ROUND_TRIP, Sample::Overload);
    assert_eq!(limit.current(), 36);
}

#[test]
fn adaptive_failures_decrease_only_if_many() {
    let mut limit = settled(64);
    fail_every(&mut limit, Duration::from_secs(100), 5);
    assert_eq!(limit.current(), 64);
    fail_every(&mut limit, Duration::from_secs(200), 1);
    assert_eq!(limit.current(), 2, "the floor");
    fail_every(&mut limit, Duration::from_secs(300), 5);
    assert!(limit.current() > 32, "no recovery: {limit:?}");
}

#[test]
fn adaptive_unused_limit_does_not_grow() {
    let mut limit = settled(64);
    let now = Duration::from_secs(100);
    limit.start_attempt(now);
    limit.finish_attempt(now, ROUND_TRIP, Sample::Overload);
    let before = limit.current();
    for n in 0..10_000 {
        let now = now + n * ROUND_TRIP;
        limit.start_attempt(now);
        limit.finish_attempt(now + ROUND_TRIP, ROUND_TRIP, Sample::Delivered);
    }
    assert_eq!(limit.current(), before);
    deliver(&mut limit, Duration::from_secs(1_000), 3_000);
    assert!(limit.current() > before);
}

#[test]
fn slow_start_doubles_per_round_trip_in_both_modes() {
    for mut limit in [ConcurrencyLimit::fixed(40), ConcurrencyLimit::adaptive(2, 40)] {
        for start_s in [0, 100] {
            let mut seen = vec![limit.current()];
            for round_trip in 0..7 {
                deliver(&mut limit, Duration::from_secs(start_s) + round_trip * ROUND_TRIP, 1);
                seen.push(limit.current());
            }
            assert_eq!(seen, [4, 8, 16, 32, 40, 40, 40, 40]);
            limit.restart(Duration::from_secs(99));
        }
        // An overload ends an adaptive slow start; a fixed one continues from a lower limit.
        deliver(&mut limit, Duration::from_secs(200), 1);
        assert_eq!(limit.current(), 8);
        limit.start_attempt(Duration::from_secs(200));
        limit.finish_attempt(Duration::from_secs(201), ROUND_TRIP, Sample::Overload);
        assert_eq!(limit.current(), 6);
        deliver(&mut limit, Duration::from_secs(300), 4);
        assert!(limit.current() == 40 || limit.current() < 12, "neither doubled nor rose in steps: {limit:?}");
    }
}

#[test]
fn adaptive_neutral_samples_change_nothing() {
    let mut limit = settled(64);
    for n in 0..1_000 {
        let now = Duration::from_secs(100) + n * ROUND_TRIP;
        (0..64).for_each(|_| limit.start_attempt(now));
        (0..64).for_each(|_| limit.finish_attempt(now, Duration::from_secs(9), Sample::Neutral));
    }
    assert_eq!((limit.current(), limit.in_flight()), (64, 0));
}

/// Prints the table of the README; asserts nothing.
#[test]
fn simulation_table_is_printed() {
    let capacity = |now_s: f64| if (60.0..120.0).contains(&now_s) { 32.0 } else { 64.0 };
    let report = simulate(adaptive(), |now_s| SimulatedApi::queueing(capacity(now_s)).noisy(), 180, 1);
    println!("seconds    capacity  limit  answers/s  throttled");
    for from in (0..180).step_by(10) {
        let interval = report.between(from, from + 10);
        let limit = interval.limit.round();
        let bar: String = (1..=60).map(|n| if f64::from(n) * 2.0 <= interval.limit { '#' } else { ' ' }).collect();
        let (throughput, refused) = (interval.throughput(), interval.refused_share() * 100.0);
        let capacity = capacity(from as f64);
        println!(
            "{from:3}-{:<3} {capacity:10} {limit:6} {throughput:10.0} {refused:8.1} %  {}",
            from + 10,
            bar.trim_end()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn adaptive_random_events_stay_within_bounds(
        floor in 1_usize..20, more in 0_usize..100,
        steps in vec((0_u8..9, 0_u64..500, 0_u64..1_000), 1..500),
    ) {
        let ceiling = floor + more;
        let (mut limit, mut now) = (ConcurrencyLimit::adaptive(floor, ceiling), Duration::ZERO);
        let (mut is_slow_start, mut decreased) = (true, Vec::new());
        for (kind, pause_ms, latency_ms) in steps {
            now += Duration::from_millis(pause_ms);
            let before = limit.current();
            match kind {
                0 => { limit.restart(now); is_slow_start = true; }
                1..=3 => limit.start_attempt(now),
                4..=5 => limit.finish_attempt(now, Duration::from_millis(latency_ms), Sample::Delivered),
                6 => limit.finish_attempt(now, Duration::from_millis(latency_ms), Sample::Overload),
                7 => limit.finish_attempt(now, Duration::from_millis(latency_ms), Sample::Failed),
                _ => limit.finish_attempt(now, Duration::MAX, Sample::Neutral),
            }
            is_slow_start &= limit.current() < floor || limit.slow_start.is_some();
            prop_assert!((1..=ceiling).contains(&limit.current()));
            prop_assert!(is_slow_start || limit.current() >= floor);
            if kind != 0 && limit.current() < before {
                decreased.push((before, limit.current()));
            }
        }
        prop_assert!(decreased.iter().all(|(before, after)| *after as f64 >= *before as f64 * 0.7 - 1.0));
    }
}

/// A limit that has learned and reached `ceiling`.
fn settled(ceiling: usize) -> ConcurrencyLimit {
    let mut limit = ConcurrencyLimit::adaptive(2, ceiling);
    deliver(&mut limit, Duration::ZERO, 50);
    assert_eq!(limit.current(), ceiling);
    assert!(limit.learned.is_some());
    limit
}

/// Delivers as many attempts as the limit allows in each of these round trips.
fn deliver(limit: &mut ConcurrencyLimit, from: Duration, round_trips: u32) {
    for round_trip in 0..round_trips {
        let now = from + round_trip * ROUND_TRIP;
        let n = limit.current();
        (0..n).for_each(|_| limit.start_attempt(now));
        (0..n).for_each(|_| limit.finish_attempt(now + ROUND_TRIP, ROUND_TRIP, Sample::Delivered));
    }
}

/// Makes 5,000 attempts at full concurrency, of which every `nth` fails.
fn fail_every(limit: &mut ConcurrencyLimit, mut now: Duration, nth: usize) {
    for n in 0..5_000 {
        while limit.has_room() {
            limit.start_attempt(now);
        }
        now += ROUND_TRIP / u32::try_from(limit.in_flight()).expect("few");
        limit.finish_attempt(now, ROUND_TRIP, if n % nth == 0 { Sample::Failed } else { Sample::Delivered });
    }
}
