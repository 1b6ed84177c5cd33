//! Order and pace, case by case. `model.rs` checks random runs against a model.

mod model;
mod shares;

use std::time::Duration;

use super::{Arrival, HandBounds, OrderCounters, Schedule, ScheduleDecision, ScheduleSettings, Ticket};
use crate::domain::rate::Rates;

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn settings() -> ScheduleSettings {
    let tiers = [5, 30, 120].map(s).to_vec();
    let bounds = HandBounds { max_share: 4, max_held: 3, max_waiting: 1_000 };
    ScheduleSettings { min_lane_capacity: 4, bounds, max_remembered: 1_000, return_grace: s(60), tiers, classes: 2 }
}

fn schedule() -> Schedule {
    Schedule::new(settings(), &Rates::default())
}

fn insert(schedule: &mut Schedule, key: &str, id: u64, now: Duration) -> Ticket {
    schedule.insert(Arrival { key: Some(key), id, class: 0 }, now)
}

fn insert_keyless(schedule: &mut Schedule, id: u64, class: usize, now: Duration) -> Ticket {
    schedule.insert(Arrival { key: None, id, class }, now)
}

/// All decisions that are due: attempts, and delays with their tiers.
fn decisions(schedule: &mut Schedule, now: Duration) -> (Vec<Ticket>, Vec<(Ticket, usize)>) {
    let (mut attempts, mut delays) = (Vec::new(), Vec::new());
    while let Some(decision) = schedule.next_decision(now, true) {
        match decision {
            ScheduleDecision::Attempt { ticket, .. } => attempts.push(ticket),
            ScheduleDecision::Delay { ticket, tier } => delays.push((ticket, tier)),
        }
    }
    (attempts, delays)
}

fn attempts(schedule: &mut Schedule, now: Duration) -> Vec<Ticket> {
    decisions(schedule, now).0
}

/// Confirms one delay after the other; returns them in order.
fn confirm_delays(schedule: &mut Schedule, now: Duration) -> Vec<(Ticket, usize)> {
    let mut confirmed = Vec::new();
    loop {
        let (_, delays) = decisions(schedule, now);
        if delays.is_empty() {
            return confirmed;
        }
        for (ticket, tier) in delays {
            schedule.confirm_delayed(ticket, now);
            confirmed.push((ticket, tier));
        }
    }
}

/// Checks that these are attempted in this order, each after the one before it has finished.
fn assert_finish_in_order(schedule: &mut Schedule, tickets: impl IntoIterator<Item = Ticket>, now: Duration) {
    for ticket in tickets {
        assert_eq!(attempts(schedule, now), [ticket]);
        schedule.remove(ticket, now);
    }
}

#[test]
fn lane_two_commands_are_attempted_one_after_the_other() {
    let mut schedule = schedule();
    let [a, b] = [1, 2].map(|id| insert(&mut schedule, "k", id, s(0)));
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    schedule.request_attempt(a, s(1));
    assert_eq!(attempts(&mut schedule, s(1)), [a], "a retry precedes the next command");
    schedule.remove(a, s(2));
    assert_eq!(attempts(&mut schedule, s(2)), [b]);
    schedule.remove(b, s(3));
    assert!(schedule.lanes.is_empty() && schedule.timers.is_empty() && schedule.in_hand.is_empty());
}

#[test]
fn schedule_busy_lane_delays_no_other_lane() {
    let mut schedule = schedule();
    let busy: Vec<_> = (0..4).map(|id| insert(&mut schedule, "busy", id, s(0))).collect();
    let other = insert(&mut schedule, "other", 7, s(0));
    let keyless = [8, 8].map(|id| insert_keyless(&mut schedule, id, 0, s(0)));
    assert_eq!(attempts(&mut schedule, s(0)), [busy[0], other, keyless[0], keyless[1]]);
}

#[test]
fn schedule_rate_limited_lanes_alternate() {
    let rates = Rates { target: Some(1.0), ..Rates::default() };
    let mut schedule = Schedule::new(settings(), &rates);
    let a: Vec<_> = (0..3).map(|id| insert(&mut schedule, "a", id, s(0))).collect();
    let b: Vec<_> = (0..3).map(|id| insert(&mut schedule, "b", id, s(0))).collect();
    let mut attempted = Vec::new();
    for second in 0..6 {
        let started = attempts(&mut schedule, s(2 * second));
        started.iter().for_each(|ticket| schedule.remove(*ticket, s(2 * second)));
        attempted.extend(started);
    }
    assert_eq!(attempted, [a[0], b[0], a[1], b[1], a[2], b[2]]);
}

#[test]
fn delay_of_head_is_followed_by_lane_in_order() {
    let mut schedule = schedule();
    let [a, b, c] = [1, 2, 3].map(|id| insert(&mut schedule, "k", id, s(0)));
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    schedule.delay(a, 1, s(1));
    assert_eq!(decisions(&mut schedule, s(1)), (vec![], vec![(a, 1)]), "one copy at a time");
    schedule.confirm_delayed(a, s(1));
    assert_eq!(confirm_delays(&mut schedule, s(1)), [(b, 1), (c, 1)]);
    let d = insert(&mut schedule, "k", 4, s(2));
    assert_eq!(confirm_delays(&mut schedule, s(2)), [(d, 1)], "a new command follows");
    assert_eq!((schedule.in_hand.len(), schedule.totals.missing), (0, 4));

    let b = insert(&mut schedule, "k", 2, s(30));
    assert_eq!(decisions(&mut schedule, s(30)), (vec![], vec![]), "the head returns soon");
    let a = insert(&mut schedule, "k", 1, s(31));
    assert_eq!(attempts(&mut schedule, s(31)), [a]);
    schedule.delay(a, 2, s(32));
    assert_eq!(confirm_delays(&mut schedule, s(32)), [(a, 2), (b, 2)]);
    for id in [3, 4] {
        let ticket = insert(&mut schedule, "k", id, s(60));
        assert_eq!(confirm_delays(&mut schedule, s(60)), [(ticket, 1)], "a tier within the wait");
    }
    let a = insert(&mut schedule, "k", 1, s(149));
    let [b, c, d] = [2, 3, 4].map(|id| insert(&mut schedule, "k", id, s(149)));
    assert_finish_in_order(&mut schedule, [a, b, c, d], s(149));
    assert_eq!(schedule.counters(), OrderCounters { behind: 6, ..OrderCounters::default() });
    assert!(schedule.lanes.is_empty());
}

/// A lane whose head has finished while its second command is still in the tier.
fn schedule_with_second_missing() -> Schedule {
    let mut schedule = schedule();
    let [a, b] = [1, 2].map(|id| insert(&mut schedule, "k", id, s(0)));
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    schedule.delay(a, 0, s(0));
    assert_eq!(confirm_delays(&mut schedule, s(0)), [(a, 0), (b, 0)]);
    let a = insert(&mut schedule, "k", 1, s(5));
    assert_finish_in_order(&mut schedule, [a], s(5));
    schedule
}

#[test]
fn lane_behind_returning_command_holds_new_ones() {
    let mut schedule = schedule_with_second_missing();
    let held = [3, 4].map(|id| insert(&mut schedule, "k", id, s(5)));
    let more = insert(&mut schedule, "k", 5, s(5));
    assert_eq!(schedule.totals.held, 2, "half of the capacity is reserved for returning commands");
    assert_eq!(confirm_delays(&mut schedule, s(5)), [(more, 0)]);
    let b = insert(&mut schedule, "k", 2, s(5));
    assert_finish_in_order(&mut schedule, [b, held[0], held[1]], s(6));
    assert_eq!((schedule.totals.held, schedule.totals.missing), (0, 1));
}

#[test]
fn schedule_lower_max_held_delays_more_commands() {
    let mut schedule = schedule_with_second_missing();
    schedule.set_bounds(HandBounds { max_held: 1, ..settings().bounds });
    let [_held, more] = [3, 4].map(|id| insert(&mut schedule, "k", id, s(5)));
    assert_eq!((schedule.totals.held, confirm_delays(&mut schedule, s(5))), (1, vec![(more, 0)]));
}

#[test]
fn full_lane_overflows_in_order_until_there_is_room() {
    let mut schedule = schedule();
    let all: Vec<_> = (0..7).map(|id| insert(&mut schedule, "k", id, s(0))).collect();
    assert_eq!(decisions(&mut schedule, s(0)), (vec![all[0]], vec![(all[4], 0)]), "the fifth is being published");
    schedule.remove(all[0], s(0));
    schedule.remove(all[1], s(0));
    assert_eq!(attempts(&mut schedule, s(0)), [all[2]]);
    schedule.confirm_delayed(all[4], s(0));
    assert_eq!(confirm_delays(&mut schedule, s(0)), [(all[5], 0), (all[6], 0)]);
    assert_eq!(schedule.counters().overflowed, 3);

    let all: Vec<_> = (0..5).map(|id| insert(&mut schedule, "l", id, s(0))).collect();
    schedule.remove(all[0], s(0));
    assert!(decisions(&mut schedule, s(0)).1.is_empty(), "room before the copy is published cancels the delay");
}

#[test]
fn missing_command_is_forgotten_only_while_consuming() {
    let mut schedule = schedule();
    let a = insert(&mut schedule, "k", 1, s(0));
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    schedule.delay(a, 0, s(0));
    assert_eq!(confirm_delays(&mut schedule, s(0)), [(a, 0)]);
    schedule.set_consuming(false, s(1));
    assert!(schedule.next_decision(s(10_000), true).is_none());
    assert_eq!(schedule.wake_at(), None);

    schedule.set_consuming(true, s(10_000));
    let b = insert(&mut schedule, "k", 2, s(10_001));
    assert_eq!(decisions(&mut schedule, s(10_001)), (vec![], vec![]));
    assert_eq!(schedule.wake_at(), Some(s(10_060)));
    assert_eq!(attempts(&mut schedule, s(10_060)), [b]);
    assert_eq!((schedule.counters().forgotten, schedule.totals.missing), (1, 0));
}

#[test]
fn missing_commands_beyond_max_remembered_are_given_up() {
    let mut schedule = Schedule::new(ScheduleSettings { max_remembered: 2, ..settings() }, &Rates::default());
    let a = insert(&mut schedule, "k", 1, s(0));
    for id in 2..5 {
        insert(&mut schedule, "k", id, s(0));
    }
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    schedule.delay(a, 0, s(0));
    assert_eq!(confirm_delays(&mut schedule, s(0)).len(), 4);
    assert_eq!((schedule.totals.missing, schedule.counters().given_up), (2, 2));
}

#[test]
fn requeue_after_lost_session_keeps_order() {
    let mut schedule = schedule();
    let [a, b, c] = [1, 2, 3].map(|id| insert(&mut schedule, "k", id, s(0)));
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    schedule.delay(c, 0, s(0));
    assert_eq!(confirm_delays(&mut schedule, s(0)), [(c, 0)]);
    [a, b].into_iter().for_each(|ticket| schedule.requeue(ticket, s(1)));
    let [c, a, b] = [3, 1, 2].map(|id| insert(&mut schedule, "k", id, s(5)));
    assert_finish_in_order(&mut schedule, [a, b, c], s(5));
    assert!(schedule.lanes.is_empty());
}

#[test]
fn requeue_of_both_copies_leaves_no_missing_position() {
    for order in [[0, 1], [1, 0]] {
        let mut schedule = schedule();
        let first = insert(&mut schedule, "k", 1, s(0));
        let copies = [first, insert(&mut schedule, "k", 1, s(1))];
        let b = insert(&mut schedule, "k", 2, s(1));
        let requeued = order.map(|index| copies[index]).into_iter().chain([b]);
        requeued.for_each(|ticket| schedule.requeue(ticket, s(2)));
        let [b, a] = [2, 1].map(|id| insert(&mut schedule, "k", id, s(2)));
        assert_finish_in_order(&mut schedule, [a, b], s(2));
        assert!(schedule.lanes.is_empty());
    }
}

#[test]
fn requeue_after_redelivery_leaves_no_missing_position() {
    let mut schedule = schedule();
    let a = insert(&mut schedule, "k", 1, s(0));
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    let [redelivered, b] = [1, 2].map(|id| insert(&mut schedule, "k", id, s(1)));
    schedule.requeue(a, s(2));
    assert_finish_in_order(&mut schedule, [redelivered, b], s(2));
    assert!(schedule.lanes.is_empty());
}

#[test]
fn requeue_after_delay_leaves_no_second_missing_position() {
    let mut schedule = schedule();
    let a = insert(&mut schedule, "k", 1, s(0));
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    let redelivered = insert(&mut schedule, "k", 1, s(1));
    schedule.delay(redelivered, 0, s(1));
    assert_eq!(confirm_delays(&mut schedule, s(1)), [(redelivered, 0)]);
    schedule.requeue(a, s(2));
    let [b, redelivered] = [2, 1].map(|id| insert(&mut schedule, "k", id, s(6)));
    assert_finish_in_order(&mut schedule, [redelivered, b], s(6));
    assert!(schedule.lanes.is_empty());
}

#[test]
fn delayed_copy_before_its_confirm_takes_its_position() {
    let mut schedule = schedule();
    let [a, b] = [1, 2].map(|id| insert(&mut schedule, "k", id, s(0)));
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    schedule.delay(a, 0, s(0));
    assert_eq!(decisions(&mut schedule, s(0)).1, [(a, 0)]);
    let copy = insert(&mut schedule, "k", 1, s(6));
    assert_eq!(attempts(&mut schedule, s(6)), [copy]);
    schedule.confirm_delayed(a, s(7));
    schedule.remove(copy, s(7));
    assert_finish_in_order(&mut schedule, [b], s(7));
    assert!(schedule.lanes.is_empty() && schedule.in_hand.is_empty());
}

#[test]
fn class_rate_delays_only_its_class_and_is_reported() {
    let rates = Rates { target: None, classes: vec![Some(1.0), None], key_interval: Duration::ZERO };
    let mut schedule = Schedule::new(settings(), &rates);
    let [a, b, c] = [1, 2, 3].map(|id| insert_keyless(&mut schedule, id, 0, s(10)));
    let other = insert_keyless(&mut schedule, 4, 1, s(10));
    assert_eq!(attempts(&mut schedule, s(10)), [a, other]);
    schedule.remove(b, s(10));
    assert!(schedule.next_decision(s(10), false).is_none(), "without a free slot there is no rate wait");
    assert_eq!(schedule.next_decision(s(10), true), None);
    let wake_at = schedule.wake_at().unwrap();
    assert_eq!(wake_at.as_millis(), 11_000);
    let decision = schedule.next_decision(wake_at, true);
    assert_eq!(decision, Some(ScheduleDecision::Attempt { ticket: c, rate_wait: wake_at - s(10) }));
}

#[test]
fn key_interval_delays_only_its_key() {
    let rates = Rates { key_interval: s(10), ..Rates::default() };
    let mut schedule = Schedule::new(settings(), &rates);
    let [a, b] = [1, 2].map(|id| insert(&mut schedule, "k", id, s(0)));
    assert_eq!(attempts(&mut schedule, s(0)), [a]);
    schedule.remove(a, s(1));
    schedule.remove(b, s(1));
    let c = insert(&mut schedule, "k", 3, s(2));
    let other = insert(&mut schedule, "other", 4, s(2));
    assert_eq!(attempts(&mut schedule, s(2)), [other]);
    assert_eq!(schedule.wake_at(), Some(s(10)));
    assert!(schedule.next_decision(s(10), false).is_none() && schedule.wake_at() > Some(s(10)), "a busy loop");
    assert_eq!(schedule.next_decision(s(11), true), Some(ScheduleDecision::Attempt { ticket: c, rate_wait: s(8) }));
    schedule.remove(c, s(11));
    schedule.remove(other, s(11));
    assert_eq!(schedule.lanes.len(), 2, "until their interval ends");
    assert!(schedule.next_decision(s(21), false).is_none());
    assert!(schedule.lanes.is_empty() && schedule.timers.is_empty());
}
