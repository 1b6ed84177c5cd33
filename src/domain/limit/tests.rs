//! The limit against a simulated API: what it learns, and how fast.

mod simulation;

use std::time::Duration;

use proptest::{collection::vec, prelude::*};

use self::simulation::{Api, Stretch, run};
use super::{ConcurrencyLimit, Sample};

const TRIP: Duration = Duration::from_millis(50);

fn learning() -> ConcurrencyLimit {
    ConcurrencyLimit::adaptive(2, 512)
}

/// What the API of this capacity can do at best: as many as it takes at once, each in 50 ms.
fn best(capacity: f64) -> f64 {
    capacity / TRIP.as_secs_f64()
}

fn assert_learned(what: &str, stretch: &Stretch, best: f64, least: f64) {
    assert!(stretch.per_second() >= least * best, "{what}: {stretch:?}, {best}/s would be best");
    assert!(stretch.throttled() < 0.02, "{what}: {stretch:?}");
}

#[test]
fn it_finds_a_hidden_capacity() {
    for capacity in [8.0, 64.0, 200.0] {
        let report = run(learning(), |_| Api::queueing(capacity), 60, 1);
        // The slow start overshoots for a second.
        assert_learned("soon", &report.between(2, 60), best(capacity), 0.8);
        assert_learned("in the end", &report.between(30, 60), best(capacity), 0.9);
    }
}

#[test]
fn it_adapts_when_the_capacity_halves_and_doubles() {
    let capacity = |now_s: f64| if (60.0..120.0).contains(&now_s) { 32.0 } else { 64.0 };
    let report = run(learning(), |now_s| Api::queueing(capacity(now_s)), 180, 1);
    assert_learned("halved", &report.between(90, 120), best(32.0), 0.8);
    assert_learned("doubled", &report.between(150, 180), best(64.0), 0.8);
    assert_learned("all of it", &report.between(0, 180), best(53.0), 0.8);
}

#[test]
fn it_uses_all_it_may_of_an_api_without_limits() {
    let report = run(learning(), |_| Api::boundless(), 30, 1);
    assert!(report.between(20, 30).per_second() >= 0.9 * best(512.0), "{report:?}");
    assert!(report.between(2, 30).per_second() >= 0.9 * best(512.0), "no need to take so long: {report:?}");
}

/// It cannot tell such an API from one that fails for other reasons, but it must not drive it further.
#[test]
fn an_api_that_sheds_load_by_failing_is_not_driven_to_fail_most_of_the_time() {
    for capacity in [16.0, 64.0] {
        let report = run(ConcurrencyLimit::adaptive(2, 256), |_| Api::shedding(capacity), 60, 1).between(10, 60);
        assert!(report.throttled() < 0.35, "{capacity}: {report:?}");
        assert!(report.per_second() >= 0.75 * best(capacity), "{capacity}: {report:?}");
    }
}

/// Noise: log-normal, with the 99th percentile at four times the median.
#[test]
fn noise_does_not_drive_it_down() {
    for seed in [1, 2] {
        let report = run(learning(), |_| Api::queueing(64.0).noisy(), 60, seed);
        // In the mean, noise is slower than its median.
        let fixed = run(ConcurrencyLimit::fixed(80), |_| Api::queueing(64.0).noisy(), 60, seed).between(30, 60);
        assert_learned("queueing", &report.between(30, 60), fixed.per_second(), 0.7);
        let report = run(ConcurrencyLimit::adaptive(2, 128), |_| Api::boundless().noisy(), 30, seed);
        let fixed = run(ConcurrencyLimit::fixed(128), |_| Api::boundless().noisy(), 30, seed).between(10, 30);
        assert_learned("boundless", &report.between(10, 30), fixed.per_second(), 0.7);
    }
}

/// The API is slower from then on, whatever the load: less in flight would not help.
#[test]
fn it_does_not_take_the_blame_for_an_api_that_is_slower() {
    let api = |now_s| if now_s < 20.0 { Api::boundless() } else { Api::boundless().slower(3.0) };
    let report = run(ConcurrencyLimit::adaptive(2, 128), api, 60, 1);
    assert!(report.between(40, 60).per_second() >= 0.9 * 128.0 / 0.15, "{report:?}");
}

#[test]
fn one_slow_answer_is_nothing() {
    let mut limit = settled(64);
    let before = limit.current();
    limit.start_attempt(TRIP);
    limit.finish_attempt(Duration::from_secs(60), Duration::from_secs(30), Sample::Delivered);
    serve(&mut limit, Duration::from_secs(60), 10 * 64);
    assert!(limit.current() >= before, "{limit:?}");
}

#[test]
fn many_overloads_of_one_round_trip_are_one_decrease() {
    let mut limit = settled(64);
    let now = Duration::from_secs(100);
    (0..40).for_each(|_| limit.start_attempt(now));
    (0..40).for_each(|_| limit.finish_attempt(now, TRIP, Sample::Overload));
    assert_eq!(limit.current(), 48);
    limit.start_attempt(now);
    limit.finish_attempt(now + 3 * TRIP, TRIP, Sample::Overload);
    assert_eq!(limit.current(), 36);
}

/// What fails by itself would fail with fewer in flight, too; when many fail, there may be too many in flight.
#[test]
fn it_is_moved_by_failures_only_when_many_fail() {
    let mut limit = settled(64);
    fail_every(&mut limit, Duration::from_secs(100), 5);
    assert_eq!(limit.current(), 64);
    fail_every(&mut limit, Duration::from_secs(200), 1);
    assert_eq!(limit.current(), 2, "the floor");
    fail_every(&mut limit, Duration::from_secs(300), 5);
    assert!(limit.current() > 32, "it recovers: {limit:?}");
}

#[test]
fn it_grows_only_when_it_is_used() {
    let mut limit = settled(64);
    let now = Duration::from_secs(100);
    limit.start_attempt(now);
    limit.finish_attempt(now, TRIP, Sample::Overload);
    let before = limit.current();
    for n in 0..10_000 {
        let now = now + n * TRIP;
        limit.start_attempt(now);
        limit.finish_attempt(now + TRIP, TRIP, Sample::Delivered);
    }
    assert_eq!(limit.current(), before);
    serve(&mut limit, Duration::from_secs(1_000), 3_000);
    assert!(limit.current() > before);
}

#[test]
fn both_modes_start_slowly_at_first_and_after_a_reset() {
    for mut limit in [ConcurrencyLimit::fixed(40), ConcurrencyLimit::adaptive(2, 40)] {
        for start_s in [0, 100] {
            let mut seen = vec![limit.current()];
            for trip in 0..7 {
                serve(&mut limit, Duration::from_secs(start_s) + trip * TRIP, 1);
                seen.push(limit.current());
            }
            assert_eq!(seen, [4, 8, 16, 32, 40, 40, 40, 40]);
            limit.restart(Duration::from_secs(99));
        }
        // What is known to be too much ends it; a fixed limit goes on with less.
        serve(&mut limit, Duration::from_secs(200), 1);
        assert_eq!(limit.current(), 8);
        limit.start_attempt(Duration::from_secs(200));
        limit.finish_attempt(Duration::from_secs(201), TRIP, Sample::Overload);
        assert_eq!(limit.current(), 6);
        serve(&mut limit, Duration::from_secs(300), 4);
        assert!(limit.current() == 40 || limit.current() < 12, "either doubles again or goes step by step: {limit:?}");
    }
}

#[test]
fn rejected_commands_say_nothing() {
    let mut limit = settled(64);
    for n in 0..1_000 {
        let now = Duration::from_secs(100) + n * TRIP;
        (0..64).for_each(|_| limit.start_attempt(now));
        (0..64).for_each(|_| limit.finish_attempt(now, Duration::from_secs(9), Sample::Neutral));
    }
    assert_eq!((limit.current(), limit.in_flight()), (64, 0));
}

/// What the README shows; nothing to assert.
#[test]
fn show() {
    let capacity = |now_s: f64| if (60.0..120.0).contains(&now_s) { 32.0 } else { 64.0 };
    let report = run(learning(), |now_s| Api::queueing(capacity(now_s)).noisy(), 180, 1);
    println!("seconds    capacity  limit  answers/s  throttled");
    for from in (0..180).step_by(10) {
        let stretch = report.between(from, from + 10);
        let limit = stretch.limit.round();
        let bar: String = (1..=60).map(|n| if f64::from(n) * 2.0 <= stretch.limit { '#' } else { ' ' }).collect();
        let (per_second, throttled) = (stretch.per_second(), stretch.throttled() * 100.0);
        let capacity = capacity(from as f64);
        println!(
            "{from:3}-{:<3} {capacity:10} {limit:6} {per_second:10.0} {throttled:8.1} %  {}",
            from + 10,
            bar.trim_end()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_stays_within_its_bounds(
        floor in 1_usize..20, more in 0_usize..100,
        steps in vec((0_u8..9, 0_u64..500, 0_u64..1_000), 1..500),
    ) {
        let (mut limit, mut now, ceiling) = (ConcurrencyLimit::adaptive(floor, floor + more), Duration::ZERO, floor + more);
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
            is_slow_start &= limit.current() < floor || limit.ramp.is_some();
            prop_assert!((1..=ceiling).contains(&limit.current()));
            prop_assert!(is_slow_start || limit.current() >= floor);
            if kind != 0 && limit.current() < before {
                decreased.push((before, limit.current()));
            }
        }
        prop_assert!(decreased.iter().all(|(before, after)| *after as f64 >= *before as f64 * 0.7 - 1.0));
    }
}

/// One that has learned and reached `n`.
fn settled(n: usize) -> ConcurrencyLimit {
    let mut limit = ConcurrencyLimit::adaptive(2, n);
    serve(&mut limit, Duration::ZERO, 50);
    assert_eq!(limit.current(), n);
    assert!(limit.learned.is_some());
    limit
}

/// So many round trips, each with as many attempts as may be under way.
fn serve(limit: &mut ConcurrencyLimit, from: Duration, trips: u32) {
    for trip in 0..trips {
        let now = from + trip * TRIP;
        let n = limit.current();
        (0..n).for_each(|_| limit.start_attempt(now));
        (0..n).for_each(|_| limit.finish_attempt(now + TRIP, TRIP, Sample::Delivered));
    }
}

/// 5,000 attempts, one of `nth` of which fails; always as many are under way as may be.
fn fail_every(limit: &mut ConcurrencyLimit, mut now: Duration, nth: usize) {
    for n in 0..5_000 {
        while limit.has_room() {
            limit.start_attempt(now);
        }
        now += TRIP / u32::try_from(limit.in_flight()).expect("few");
        limit.finish_attempt(now, TRIP, if n % nth == 0 { Sample::Failed } else { Sample::Delivered });
    }
}
