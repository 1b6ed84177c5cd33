//! The slow start of a consume session: few deliveries in hand until some of them are proven harmless.
//!
//! A message that the client library cannot decode ends the session, or the process, before its delivery is seen. The
//! broker then counts a return of every delivery in hand, and a command with too many returns becomes `poison`. So a
//! session begins with one delivery, and takes more at a time only after earlier ones are *proven*: settled, or in hand
//! for a while. In *isolation* it stays at one for a longer run, so that a harmful message is in hand alone.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Deliveries in hand that are not proven, in each step.
const STEP_SIZES: [u16; 4] = [1, 16, 256, u16::MAX];
/// Proven deliveries that end a step.
const RUNS: [u32; 3] = [1, 16, 64];
const ISOLATED_RUNS: [u32; 3] = [32, 64, 64];
/// A delivery in hand for this long is proven: a command may wait for a rate, the gate or a slow API.
const PROVEN_AFTER: Duration = Duration::from_millis(50);
const ISOLATED_PROVEN_AFTER: Duration = Duration::from_millis(200);
/// A subscribed session of this age ends its slow start, also without deliveries.
const STABLE_AFTER: Duration = Duration::from_secs(15);
/// A command that ended sessions have returned this often may be harmful, or in hand together with a harmful one.
const SUSPECT_RETURNS: u32 = 2;

/// The slow start of one session.
#[derive(Debug)]
pub(super) struct SlowStart {
    step: usize,
    is_isolated: bool,
    /// Proven in this step.
    proven: u32,
    /// Tags and arrival times of the other deliveries in hand, in order.
    unproven: VecDeque<(u64, Instant)>,
    subscribed_at: Option<Instant>,
}

impl SlowStart {
    pub(super) const fn new(is_isolated: bool) -> Self {
        Self { step: 0, is_isolated, proven: 0, unproven: VecDeque::new(), subscribed_at: None }
    }

    /// The largest subscription that may be opened now.
    pub(super) fn max_size(&self) -> u16 {
        STEP_SIZES.get(self.step).copied().unwrap_or(u16::MAX)
    }

    pub(super) const fn is_over(&self) -> bool {
        self.step >= RUNS.len()
    }

    /// Whether deliveries are taken one at a time because a message may be harmful.
    pub(super) const fn is_isolated(&self) -> bool {
        self.is_isolated && !self.is_over()
    }

    /// Whether no delivery in hand awaits its proof, so that another may be taken.
    pub(super) fn is_proven(&self) -> bool {
        self.unproven.is_empty()
    }

    /// When [`Self::advance`] is due, if it is.
    pub(super) fn due(&self) -> Option<Instant> {
        let oldest = self.unproven.front().map(|(_, arrived)| *arrived + self.proven_after());
        let stable = self.subscribed_at.filter(|_| !self.is_over()).map(|since| since + STABLE_AFTER);
        oldest.into_iter().chain(stable).min()
    }

    /// Whether the session has subscribed to the queue.
    pub(super) const fn has_subscribed(&self) -> bool {
        self.subscribed_at.is_some()
    }

    pub(super) fn record_subscription(&mut self, now: Instant) {
        self.subscribed_at.get_or_insert(now);
    }

    /// Records a delivery that ended sessions have returned this often. A suspect begins the isolation.
    pub(super) fn record_delivery(&mut self, number: u64, returns: u32, now: Instant) {
        if self.is_over() {
            return;
        }
        if returns >= SUSPECT_RETURNS && !self.is_isolated {
            (self.is_isolated, self.step, self.proven) = (true, 0, 0);
        }
        self.unproven.push_back((number, now));
    }

    pub(super) fn settle(&mut self, number: u64) {
        if let Some(index) = self.unproven.iter().position(|(unproven, _)| *unproven == number) {
            self.unproven.remove(index);
            self.count_proven(1);
        }
    }

    /// Counts the deliveries that are proven by their time in hand.
    pub(super) fn advance(&mut self, now: Instant) {
        let proven_after = self.proven_after();
        let proven = self.unproven.iter().take_while(|(_, arrived)| *arrived + proven_after <= now).count();
        self.unproven.drain(..proven);
        self.count_proven(proven);
        if self.subscribed_at.is_some_and(|since| since + STABLE_AFTER <= now) {
            self.finish();
        }
    }

    fn count_proven(&mut self, proven: usize) {
        self.proven = self.proven.saturating_add(u32::try_from(proven).unwrap_or(u32::MAX));
        let runs = if self.is_isolated { ISOLATED_RUNS } else { RUNS };
        if runs.get(self.step).is_some_and(|run| self.proven >= *run) {
            (self.step, self.proven) = (self.step + 1, 0);
        }
        if self.is_over() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        self.step = RUNS.len();
        self.unproven = VecDeque::new();
    }

    const fn proven_after(&self) -> Duration {
        if self.is_isolated { ISOLATED_PROVEN_AFTER } else { PROVEN_AFTER }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes and settles deliveries one after the other until the step ends; returns their number.
    fn settle_step(slow_start: &mut SlowStart, first: u64) -> u32 {
        let size = slow_start.max_size();
        for n in 0.. {
            if slow_start.max_size() != size {
                return n;
            }
            slow_start.record_delivery(first + u64::from(n), 0, Instant::now());
            slow_start.settle(first + u64::from(n));
        }
        unreachable!("a step ends")
    }

    #[test]
    fn steps_grow_as_deliveries_are_settled() {
        for (is_isolated, runs) in [(false, RUNS), (true, ISOLATED_RUNS)] {
            let mut slow_start = SlowStart::new(is_isolated);
            assert_eq!((slow_start.max_size(), slow_start.is_isolated()), (1, is_isolated));
            assert_eq!(settle_step(&mut slow_start, 1), runs[0]);
            assert_eq!((slow_start.max_size(), slow_start.is_over()), (16, false));
            assert_eq!(settle_step(&mut slow_start, 100), runs[1]);
            assert_eq!((slow_start.max_size(), slow_start.is_over()), (256, false));
            assert_eq!(settle_step(&mut slow_start, 200), runs[2]);
            assert_eq!((slow_start.max_size(), slow_start.is_over()), (u16::MAX, true));
            assert_eq!((slow_start.is_isolated(), slow_start.due()), (false, None));
        }
    }

    #[test]
    fn waiting_delivery_is_proven_by_time() {
        let (mut slow_start, now) = (SlowStart::new(false), Instant::now());
        slow_start.record_delivery(1, 0, now);
        assert_eq!((slow_start.due(), slow_start.is_proven()), (Some(now + PROVEN_AFTER), false));
        slow_start.advance(now + PROVEN_AFTER / 2);
        assert_eq!(slow_start.max_size(), 1);
        slow_start.advance(now + PROVEN_AFTER);
        assert_eq!((slow_start.max_size(), slow_start.is_proven()), (16, true));
        slow_start.settle(1);
        assert_eq!(slow_start.proven, 0, "counted once");
    }

    #[test]
    fn returned_delivery_begins_the_isolation() {
        let (mut slow_start, now) = (SlowStart::new(false), Instant::now());
        settle_step(&mut slow_start, 1);
        slow_start.record_delivery(2, SUSPECT_RETURNS - 1, now);
        assert_eq!((slow_start.max_size(), slow_start.is_isolated()), (16, false));
        slow_start.record_delivery(3, SUSPECT_RETURNS, now);
        assert_eq!((slow_start.max_size(), slow_start.is_isolated()), (1, true));
        slow_start.finish();
        slow_start.record_delivery(4, 9, now);
        assert!(!slow_start.is_isolated(), "later ones prove nothing: they were decoded");
    }

    #[test]
    fn idle_session_is_stable_after_a_while() {
        let (mut slow_start, now) = (SlowStart::new(true), Instant::now());
        slow_start.advance(now + STABLE_AFTER);
        assert_eq!((slow_start.is_over(), slow_start.due()), (false, None), "not subscribed");
        slow_start.record_subscription(now);
        slow_start.record_subscription(now + PROVEN_AFTER);
        assert_eq!(slow_start.due(), Some(now + STABLE_AFTER));
        slow_start.advance(now + STABLE_AFTER);
        assert!(slow_start.is_over());
    }
}
