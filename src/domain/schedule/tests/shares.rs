//! Commands that wait have at most a share of the prefetch; the others go to the tier that fits their wait.

use super::*;

const BOUNDS: HandBounds = HandBounds { max_share: 20, max_held: 10, max_waiting: 8 };

fn schedule_with(rates: &Rates) -> Schedule {
    Schedule::new(ScheduleSettings { bounds: BOUNDS, ..settings() }, rates)
}

fn class_rates() -> Rates {
    Rates { classes: vec![Some(1.0), None], ..Rates::default() }
}

/// The number of delays in each tier.
fn tiers_of(delays: &[(Ticket, usize)]) -> [usize; 3] {
    [0, 1, 2].map(|tier| delays.iter().filter(|(_, other)| *other == tier).count())
}

#[test]
fn class_beyond_its_share_goes_to_the_tier_that_fits() {
    let mut schedule = schedule_with(&class_rates());
    let slow: Vec<_> = (0..200).map(|id| insert_keyless(&mut schedule, id, 0, s(0))).collect();
    let other = insert_keyless(&mut schedule, 900, 1, s(0));
    let (attempts, delays) = decisions(&mut schedule, s(0));
    assert_eq!(attempts, [slow[0], other], "the other class does not wait");
    assert!(delays.iter().all(|(ticket, _)| slow[9..].contains(ticket)), "nine seconds of work stay in hand");
    assert_eq!(tiers_of(&delays), [21, 90, 80]);
    delays.into_iter().for_each(|(ticket, _)| schedule.confirm_delayed(ticket, s(0)));
    assert_eq!((schedule.counters().overflowed, schedule.in_hand.len()), (191, 10));

    // One token a second.
    for second in 1..=8 {
        assert_eq!(decisions(&mut schedule, s(second) + Duration::from_millis(second)).0.len(), 1);
    }
    slow[..9].iter().for_each(|ticket| schedule.remove(*ticket, s(9)));
    for id in 9..29 {
        insert_keyless(&mut schedule, id, 0, s(9));
    }
    let delays = decisions(&mut schedule, s(9)).1;
    assert_eq!(tiers_of(&delays), [11, 0, 0], "before the copies in the longer tiers return");
}

#[test]
fn ready_leaves_out_a_class_without_a_token() {
    let mut schedule = schedule_with(&class_rates());
    let [first, second] = [1, 2].map(|id| insert_keyless(&mut schedule, id, 0, s(0)));
    assert_eq!(schedule.ready(s(0)).collect::<Vec<_>>(), [first, second]);
    assert_eq!(attempts(&mut schedule, s(0)), [first]);
    assert_eq!(schedule.ready(s(0)).count(), 0);
    assert_eq!(schedule.ready(s(2)).collect::<Vec<_>>(), [second]);
}

#[test]
fn class_with_order_keeps_order_when_it_overflows() {
    let mut schedule = schedule_with(&class_rates());
    for id in 0..9 {
        insert(&mut schedule, &id.to_string(), id, s(0));
    }
    let [a, b] = [100, 101].map(|id| insert(&mut schedule, "k", id, s(0)));
    assert_eq!(confirm_delays(&mut schedule, s(0)), [(a, 0), (b, 0)]);
    let b = insert(&mut schedule, "k", 101, s(4));
    assert!(decisions(&mut schedule, s(4)).0.iter().all(|ticket| *ticket != b), "its head has not returned");
}

#[test]
fn target_rate_delays_no_command() {
    let mut schedule = schedule_with(&Rates { target: Some(0.01), ..Rates::default() });
    for id in 0..30 {
        insert_keyless(&mut schedule, id, 1, s(0));
        insert(&mut schedule, &id.to_string(), id, s(0));
    }
    let (attempts, delays) = decisions(&mut schedule, s(0));
    assert_eq!((attempts.len(), delays, schedule.waiting(s(0))), (1, vec![], 0));
}

#[test]
fn key_interval_overflow_goes_to_the_tier_that_fits() {
    let mut schedule = schedule_with(&Rates { key_interval: s(10), ..Rates::default() });
    let all: Vec<_> = (0..16).map(|id| insert(&mut schedule, "k", id, s(0))).collect();
    let other = insert(&mut schedule, "other", 99, s(0));
    let (attempts, mut delays) = decisions(&mut schedule, s(0));
    assert_eq!(attempts, [all[0], other]);
    delays.iter().for_each(|(ticket, _)| schedule.confirm_delayed(*ticket, s(0)));
    delays.extend(confirm_delays(&mut schedule, s(0)));
    assert_eq!(delays.iter().map(|(ticket, _)| *ticket).collect::<Vec<_>>(), all[4..], "in order");
    assert_eq!(tiers_of(&delays), [0, 8, 4], "of 40 s and more, 120 s and more");
}

#[test]
fn slow_lanes_beyond_their_share_overflow_and_fast_ones_do_not() {
    let mut schedule = schedule_with(&Rates::default());
    for key in ["a", "b", "c"] {
        let head = insert(&mut schedule, key, 1, s(0));
        assert_eq!(attempts(&mut schedule, s(0)), [head]);
        schedule.rest(head, s(3), s(0));
        for id in 2..5 {
            insert(&mut schedule, key, id, s(0));
        }
    }
    assert_eq!(decisions(&mut schedule, s(0)).1.len(), 1, "of the third lane, one copy at a time");
    assert_eq!(schedule.waiting(s(0)), 9);
    let [fast, next] = [1, 2].map(|id| insert(&mut schedule, "fast", id, s(0)));
    assert_eq!(decisions(&mut schedule, s(0)), (vec![fast], vec![]));
    schedule.remove(fast, s(0));
    assert_eq!(attempts(&mut schedule, s(0)), [next]);
}

#[test]
fn shared_queue_holds_no_command_back() {
    let mut schedule = schedule();
    let [a, b] = [1, 2].map(|id| insert(&mut schedule, "k", id, s(0)));
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    schedule.delay(a, 2, s(0));
    assert_eq!(confirm_delays(&mut schedule, s(0)), [(a, 2), (b, 2)]);
    let c = insert(&mut schedule, "k", 3, s(118));
    assert_eq!(attempts(&mut schedule, s(118)), []);
    schedule.set_shared(true, s(119));
    assert_eq!(attempts(&mut schedule, s(119)), [c], "the missing ones may return to another daemon");
    let both = [4, 5].map(|id| insert(&mut schedule, "k", id, s(119)));
    assert_eq!(attempts(&mut schedule, s(119)), both, "no order");
    schedule.delay(both[0], 0, s(119));
    assert_eq!(confirm_delays(&mut schedule, s(119)), [(both[0], 0)]);
    assert_eq!((schedule.totals.missing, schedule.counters().given_up), (0, 0));

    schedule.set_shared(false, s(120));
    let [d, _e] = [6, 7].map(|id| insert(&mut schedule, "k", id, s(120)));
    schedule.remove(c, s(120));
    assert_eq!(attempts(&mut schedule, s(120)), [d], "order again");
}
