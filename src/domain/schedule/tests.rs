//! Order and pace, case by case; `world.rs` holds everything against a model.

mod world;

use std::time::Duration;

use super::{Arrival, OrderCounters, Schedule, ScheduleDecision, ScheduleSettings, Ticket};
use crate::domain::rate::Rates;

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn settings() -> ScheduleSettings {
    let tiers = [5, 30, 120].map(s).to_vec();
    ScheduleSettings { lane_capacity: 4, max_held: 3, max_remembered: 1_000, return_grace: s(60), tiers, classes: 2 }
}

fn schedule() -> Schedule {
    Schedule::new(settings(), &Rates::default())
}

fn arrive(schedule: &mut Schedule, key: &str, id: u64, now: Duration) -> Ticket {
    schedule.insert(Arrival { key: Some(key), id, class: 0 }, now)
}

/// All that is to be done now: attempts, and copies with their tiers.
fn moves(schedule: &mut Schedule, now: Duration) -> (Vec<Ticket>, Vec<(Ticket, usize)>) {
    let (mut attempts, mut parks) = (Vec::new(), Vec::new());
    while let Some(next) = schedule.next_decision(now, true) {
        match next {
            ScheduleDecision::Attempt { ticket, .. } => attempts.push(ticket),
            ScheduleDecision::Delay { ticket, tier } => parks.push((ticket, tier)),
        }
    }
    (attempts, parks)
}

fn attempts(schedule: &mut Schedule, now: Duration) -> Vec<Ticket> {
    moves(schedule, now).0
}

/// Stores one copy after the other; in which order, and in which tiers.
fn park_all(schedule: &mut Schedule, now: Duration) -> Vec<(Ticket, usize)> {
    let mut stored = Vec::new();
    loop {
        let (_, parks) = moves(schedule, now);
        if parks.is_empty() {
            return stored;
        }
        for (ticket, tier) in parks {
            schedule.confirm_delayed(ticket, now);
            stored.push((ticket, tier));
        }
    }
}

#[test]
fn one_key_is_attempted_in_order_and_one_at_a_time() {
    let mut schedule = schedule();
    let [a, b] = [1, 2].map(|id| arrive(&mut schedule, "k", id, s(0)));
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    schedule.request_attempt(a, s(1));
    assert_eq!(attempts(&mut schedule, s(1)), [a], "its followers wait for it");
    schedule.remove(a, s(2));
    assert_eq!(attempts(&mut schedule, s(2)), [b]);
    schedule.remove(b, s(3));
    assert!(schedule.lanes.is_empty() && schedule.alarms.is_empty() && schedule.hands.is_empty());
}

#[test]
fn nobody_waits_for_a_stranger() {
    let mut schedule = schedule();
    let slow: Vec<_> = (0..4).map(|id| arrive(&mut schedule, "slow", id, s(0))).collect();
    let other = arrive(&mut schedule, "other", 7, s(0));
    let [x, y] = [8, 8].map(|id| schedule.insert(Arrival { key: None, id, class: 0 }, s(0)));
    assert_eq!(attempts(&mut schedule, s(0)), [slow[0], other, x, y]);
}

#[test]
fn lanes_take_turns() {
    let rates = Rates { target: Some(1.0), ..Rates::default() };
    let mut schedule = Schedule::new(settings(), &rates);
    let a: Vec<_> = (0..3).map(|id| arrive(&mut schedule, "a", id, s(0))).collect();
    let b: Vec<_> = (0..3).map(|id| arrive(&mut schedule, "b", id, s(0))).collect();
    let mut seen = Vec::new();
    for second in 0..6 {
        let started = attempts(&mut schedule, s(2 * second));
        started.iter().for_each(|ticket| schedule.remove(*ticket, s(2 * second)));
        seen.extend(started);
    }
    assert_eq!(seen, [a[0], b[0], a[1], b[1], a[2], b[2]]);
}

#[test]
fn what_waits_in_a_tier_is_followed_by_the_others_in_order_and_keeps_its_place() {
    let mut schedule = schedule();
    let [a, b, c] = [1, 2, 3].map(|id| arrive(&mut schedule, "k", id, s(0)));
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    schedule.delay(a, 1, s(1));
    assert_eq!(moves(&mut schedule, s(1)), (vec![], vec![(a, 1)]), "one copy at a time");
    assert_eq!(park_all_from(&mut schedule, a, s(1)), [(b, 1), (c, 1)]);
    let d = arrive(&mut schedule, "k", 4, s(2));
    assert_eq!(park_all(&mut schedule, s(2)), [(d, 1)], "a fresh one follows, too");
    assert_eq!((schedule.hands.len(), schedule.away), (0, 4));

    let b = arrive(&mut schedule, "k", 2, s(30));
    assert_eq!(park_all(&mut schedule, s(30)), [(b, 1)], "it is not its turn");
    let a = arrive(&mut schedule, "k", 1, s(31));
    assert_eq!(attempts(&mut schedule, s(31)), [a]);
    schedule.delay(a, 2, s(32));
    assert_eq!(park_all(&mut schedule, s(32)), [(a, 2)]);
    for id in [2, 3, 4] {
        let ticket = arrive(&mut schedule, "k", id, s(60));
        assert_eq!(park_all(&mut schedule, s(60)), [(ticket, 2)], "it goes where its head is");
    }
    let a = arrive(&mut schedule, "k", 1, s(152));
    let [b, c, d] = [2, 3, 4].map(|id| arrive(&mut schedule, "k", id, s(152)));
    for ticket in [a, b, c, d] {
        assert_eq!(attempts(&mut schedule, s(152)), [ticket]);
        schedule.remove(ticket, s(152));
    }
    assert_eq!(schedule.counters(), OrderCounters { behind: 7, ..OrderCounters::default() });
    assert!(schedule.lanes.is_empty());
}

fn park_all_from(schedule: &mut Schedule, ticket: Ticket, now: Duration) -> Vec<(Ticket, usize)> {
    schedule.confirm_delayed(ticket, now);
    park_all(schedule, now)
}

#[test]
fn once_the_head_is_through_fresh_ones_are_held_in_hand() {
    let mut schedule = schedule();
    let [a, b] = [1, 2].map(|id| arrive(&mut schedule, "k", id, s(0)));
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    schedule.delay(a, 0, s(0));
    assert_eq!(park_all(&mut schedule, s(0)), [(a, 0), (b, 0)]);
    let a = arrive(&mut schedule, "k", 1, s(5));
    assert_eq!(attempts(&mut schedule, s(5)), [a]);
    schedule.remove(a, s(5));
    let held = [3, 4].map(|id| arrive(&mut schedule, "k", id, s(5)));
    let more = arrive(&mut schedule, "k", 5, s(5));
    assert_eq!(schedule.held, 2, "half of the room is for those that come back");
    assert_eq!(park_all(&mut schedule, s(5)), [(more, 0)]);
    let b = arrive(&mut schedule, "k", 2, s(5));
    for ticket in [b, held[0], held[1]] {
        assert_eq!(attempts(&mut schedule, s(6)), [ticket]);
        schedule.remove(ticket, s(6));
    }
    assert_eq!((schedule.held, schedule.away), (0, 1));
}

#[test]
fn as_many_are_held_as_may_be_now() {
    let mut schedule = schedule();
    let [a, b] = [1, 2].map(|id| arrive(&mut schedule, "k", id, s(0)));
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    schedule.delay(a, 0, s(0));
    assert_eq!(park_all(&mut schedule, s(0)), [(a, 0), (b, 0)]);
    let a = arrive(&mut schedule, "k", 1, s(5));
    assert_eq!(attempts(&mut schedule, s(5)), [a]);
    schedule.remove(a, s(5));
    schedule.set_max_held(1);
    let [_held, more] = [3, 4].map(|id| arrive(&mut schedule, "k", id, s(5)));
    assert_eq!((schedule.held, park_all(&mut schedule, s(5))), (1, vec![(more, 0)]));
}

#[test]
fn a_full_lane_overflows_in_order_and_takes_back_what_is_still_here() {
    let mut schedule = schedule();
    let all: Vec<_> = (0..7).map(|id| arrive(&mut schedule, "k", id, s(0))).collect();
    assert_eq!(moves(&mut schedule, s(0)), (vec![all[0]], vec![(all[4], 0)]), "a copy of the fifth is on its way");
    schedule.remove(all[0], s(0));
    schedule.remove(all[1], s(0));
    assert_eq!(attempts(&mut schedule, s(0)), [all[2]]);
    schedule.confirm_delayed(all[4], s(0));
    assert_eq!(park_all(&mut schedule, s(0)), [(all[5], 0), (all[6], 0)]);
    assert_eq!(schedule.counters().overflowed, 3);
    let all: Vec<_> = (0..5).map(|id| arrive(&mut schedule, "l", id, s(0))).collect();
    schedule.remove(all[0], s(0));
    assert!(moves(&mut schedule, s(0)).1.is_empty(), "there is room before its copy is made");
}

#[test]
fn what_does_not_come_back_is_forgotten_but_not_while_nothing_can() {
    let mut schedule = schedule();
    let a = arrive(&mut schedule, "k", 1, s(0));
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    schedule.delay(a, 0, s(0));
    assert_eq!(park_all(&mut schedule, s(0)), [(a, 0)]);
    schedule.set_consuming(false, s(1));
    assert!(schedule.next_decision(s(10_000), true).is_none());
    assert_eq!(schedule.wake_at(), None);
    schedule.set_consuming(true, s(10_000));
    let b = arrive(&mut schedule, "k", 2, s(10_001));
    assert_eq!(park_all(&mut schedule, s(10_001)), [(b, 0)]);
    assert_eq!(schedule.wake_at(), Some(s(10_060)));
    let b = arrive(&mut schedule, "k", 2, s(10_059));
    assert_eq!(park_all(&mut schedule, s(10_059)), [(b, 0)]);
    assert!(schedule.next_decision(s(10_060), true).is_none());
    assert_eq!((schedule.counters().forgotten, schedule.away), (1, 1));
    let b = arrive(&mut schedule, "k", 2, s(10_064));
    assert_eq!(attempts(&mut schedule, s(10_064)), [b]);
}

#[test]
fn order_is_given_up_rather_than_memory() {
    let mut schedule = Schedule::new(ScheduleSettings { max_remembered: 2, ..settings() }, &Rates::default());
    let a = arrive(&mut schedule, "k", 1, s(0));
    for id in 2..5 {
        arrive(&mut schedule, "k", id, s(0));
    }
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    schedule.delay(a, 0, s(0));
    assert_eq!(park_all(&mut schedule, s(0)).len(), 4);
    assert_eq!((schedule.away, schedule.counters().given_up), (2, 2));
}

#[test]
fn a_lost_session_costs_no_order() {
    let mut schedule = schedule();
    let [a, b, c] = [1, 2, 3].map(|id| arrive(&mut schedule, "k", id, s(0)));
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    schedule.delay(c, 0, s(0));
    assert_eq!(park_all(&mut schedule, s(0)), [(c, 0)]);
    [a, b].into_iter().for_each(|ticket| schedule.requeue(ticket, s(1)));
    let [c, a, b] = [3, 1, 2].map(|id| arrive(&mut schedule, "k", id, s(5)));
    for ticket in [a, b, c] {
        assert_eq!(attempts(&mut schedule, s(5)), [ticket]);
        schedule.remove(ticket, s(5));
    }
    assert!(schedule.lanes.is_empty());
}

#[test]
fn sessions_lost_one_after_the_other_leave_no_place_open() {
    for order in [[0, 1], [1, 0]] {
        let mut schedule = schedule();
        let first = arrive(&mut schedule, "k", 1, s(0));
        let twins = [first, arrive(&mut schedule, "k", 1, s(1))];
        let b = arrive(&mut schedule, "k", 2, s(1));
        order.map(|nth| twins[nth]).into_iter().chain([b]).for_each(|ticket| schedule.requeue(ticket, s(2)));
        let [b, a] = [2, 1].map(|id| arrive(&mut schedule, "k", id, s(2)));
        for ticket in [a, b] {
            assert_eq!(attempts(&mut schedule, s(2)), [ticket]);
            schedule.remove(ticket, s(2));
        }
        assert!(schedule.lanes.is_empty());
    }
}

#[test]
fn one_that_is_released_after_it_was_given_out_again_leaves_no_place_open() {
    let mut schedule = schedule();
    let a = arrive(&mut schedule, "k", 1, s(0));
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    let [again, b] = [1, 2].map(|id| arrive(&mut schedule, "k", id, s(1)));
    schedule.requeue(a, s(2));
    for ticket in [again, b] {
        assert_eq!(attempts(&mut schedule, s(2)), [ticket]);
        schedule.remove(ticket, s(2));
    }
    assert!(schedule.lanes.is_empty());
}

#[test]
fn one_that_is_released_after_it_went_to_a_tier_leaves_no_place_open() {
    let mut schedule = schedule();
    let a = arrive(&mut schedule, "k", 1, s(0));
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    let again = arrive(&mut schedule, "k", 1, s(1));
    schedule.delay(again, 0, s(1));
    assert_eq!(park_all(&mut schedule, s(1)), [(again, 0)]);
    schedule.requeue(a, s(2));
    let [b, again] = [2, 1].map(|id| arrive(&mut schedule, "k", id, s(6)));
    for ticket in [again, b] {
        assert_eq!(attempts(&mut schedule, s(6)), [ticket]);
        schedule.remove(ticket, s(6));
    }
    assert!(schedule.lanes.is_empty());
}

#[test]
fn a_copy_may_be_back_before_its_confirm() {
    let mut schedule = schedule();
    let [a, b] = [1, 2].map(|id| arrive(&mut schedule, "k", id, s(0)));
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    schedule.delay(a, 0, s(0));
    assert_eq!(moves(&mut schedule, s(0)).1, [(a, 0)]);
    let back = arrive(&mut schedule, "k", 1, s(6));
    assert_eq!(attempts(&mut schedule, s(6)), [back]);
    schedule.confirm_delayed(a, s(7));
    schedule.remove(back, s(7));
    assert_eq!(attempts(&mut schedule, s(7)), [b]);
    schedule.remove(b, s(7));
    assert!(schedule.lanes.is_empty() && schedule.hands.is_empty());
}

#[test]
fn a_rate_holds_back_only_its_class_and_the_wait_is_told() {
    let rates = Rates { target: None, classes: vec![Some(1.0), None], key_interval: Duration::ZERO };
    let mut schedule = Schedule::new(settings(), &rates);
    let [a, b, c] = [1, 2, 3].map(|id| schedule.insert(Arrival { key: None, id, class: 0 }, s(10)));
    let other = schedule.insert(Arrival { key: None, id: 4, class: 1 }, s(10));
    assert_eq!(attempts(&mut schedule, s(10)), [a, other]);
    schedule.remove(b, s(10));
    assert!(schedule.next_decision(s(10), false).is_none(), "no slot is free: that is no wait for rates");
    assert_eq!(schedule.next_decision(s(10), true), None);
    let wake_at = schedule.wake_at().unwrap();
    assert_eq!(wake_at.as_millis(), 11_000);
    let Some(ScheduleDecision::Attempt { ticket, rate_wait }) = schedule.next_decision(wake_at, true) else {
        panic!("it waited as told")
    };
    assert_eq!((ticket, rate_wait), (c, wake_at - s(10)));
}

#[test]
fn a_key_rests_after_each_start_and_holds_up_nobody() {
    let rates = Rates { key_interval: s(10), ..Rates::default() };
    let mut schedule = Schedule::new(settings(), &rates);
    let [a, b] = [1, 2].map(|id| arrive(&mut schedule, "k", id, s(0)));
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    schedule.remove(a, s(1));
    schedule.remove(b, s(1));
    let c = arrive(&mut schedule, "k", 3, s(2));
    let other = arrive(&mut schedule, "other", 4, s(2));
    assert_eq!(attempts(&mut schedule, s(2)), [other]);
    assert_eq!(schedule.wake_at(), Some(s(10)));
    assert!(schedule.next_decision(s(10), false).is_none() && schedule.wake_at() > Some(s(10)), "no busy loop");
    assert_eq!(schedule.next_decision(s(11), true), Some(ScheduleDecision::Attempt { ticket: c, rate_wait: s(8) }));
    schedule.remove(c, s(11));
    schedule.remove(other, s(11));
    assert_eq!(schedule.lanes.len(), 2, "they rest");
    assert!(schedule.next_decision(s(21), false).is_none());
    assert!(schedule.lanes.is_empty() && schedule.alarms.is_empty());
}
