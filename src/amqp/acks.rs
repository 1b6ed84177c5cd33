//! Which deliveries to acknowledge when: as few frames as possible, and none for what is not settled.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

/// Acknowledgements wait for others for so long.
pub(super) const LINGER: Duration = Duration::from_millis(3);
/// Or until there are so many.
const MANY: usize = 64;
/// What is settled behind one that takes its time waits for so many turns before it is acknowledged by itself.
const PATIENT_TURNS: u32 = 2;

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    /// The broker's delivery tag.
    pub(super) number: u64,
    /// All before it, too.
    pub(super) multiple: bool,
}

/// The deliveries of one session that the broker waits for.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Delivered, and not settled.
    open: BTreeSet<u64>,
    /// All up to this one were delivered to us; tags count from 1.
    seen_to: u64,
    /// Delivered, though one before did not come (yet).
    ahead: BTreeSet<u64>,
    /// Settled, and not acknowledged.
    settled: BTreeSet<u64>,
    /// Since when something waits.
    since: Option<Instant>,
    /// For so many turns in a row nothing could go with those before it.
    turns: u32,
}

impl Ledger {
    /// A delivery came.
    pub(super) fn delivered(&mut self, number: u64) {
        self.open.insert(number);
        self.ahead.insert(number);
        while self.ahead.remove(&(self.seen_to + 1)) {
            self.seen_to += 1;
        }
    }

    /// How many are delivered and not settled.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Up to which tag everything came.
    pub(super) const fn seen_to(&self) -> u64 {
        self.seen_to
    }

    /// Whether one up to this tag is not settled.
    pub(super) fn is_open_to(&self, number: u64) -> bool {
        self.open.first().is_some_and(|first| *first <= number)
    }

    /// It is settled.
    pub(super) fn settle(&mut self, number: u64) {
        if self.open.remove(&number) {
            self.settled.insert(number);
            self.since.get_or_insert_with(Instant::now);
        }
    }

    /// When [`Self::take`] is due; `None` while nothing waits.
    pub(super) fn due(&self) -> Option<Instant> {
        let since = self.since?;
        Some(if self.settled.len() >= MANY { since } else { since + LINGER })
    }

    /// What to acknowledge now: one frame for all before the first open one; the others by themselves when that one takes
    /// its time, or when `all` must go.
    pub(super) fn take(&mut self, all: bool) -> Vec<Ack> {
        // One that never came to us is not settled either.
        let open = self.open.first().map_or(self.seen_to + 1, |open| (*open).min(self.seen_to + 1));
        let behind = self.settled.split_off(&open);
        let before = std::mem::replace(&mut self.settled, behind);
        let mut acks: Vec<_> = before.last().map(|last| Ack { number: *last, multiple: true }).into_iter().collect();
        self.turns = if acks.is_empty() { self.turns + 1 } else { 0 };
        if all || self.turns >= PATIENT_TURNS || self.settled.len() >= MANY {
            let alone = std::mem::take(&mut self.settled).into_iter();
            acks.extend(alone.map(|number| Ack { number, multiple: false }));
            self.turns = 0;
        }
        self.since = (!self.settled.is_empty()).then(Instant::now);
        acks
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn ledger(delivered: u64) -> Ledger {
        let mut ledger = Ledger::default();
        (1..=delivered).for_each(|number| ledger.delivered(number));
        ledger
    }

    #[test]
    fn what_is_settled_in_order_is_one_frame() {
        let mut ledger = ledger(5);
        (1..=4).for_each(|number| ledger.settle(number));
        assert_eq!(ledger.take(false), [Ack { number: 4, multiple: true }]);
        assert_eq!((ledger.take(false), ledger.due()), (vec![], None));
    }

    #[test]
    fn a_slow_one_holds_the_others_up_for_a_moment_only() {
        let mut ledger = ledger(4);
        [1, 3, 4].into_iter().for_each(|number| ledger.settle(number));
        assert_eq!(ledger.take(false), [Ack { number: 1, multiple: true }]);
        assert!(ledger.due().is_some());
        assert_eq!(ledger.take(false), []);
        assert_eq!(ledger.take(false), [3, 4].map(|number| Ack { number, multiple: false }));
        ledger.settle(2);
        assert_eq!(ledger.take(false), [Ack { number: 2, multiple: true }]);
    }

    #[test]
    fn one_that_never_came_is_not_acknowledged_with_those_after_it() {
        let mut ledger = Ledger::default();
        [1, 3, 4].into_iter().for_each(|number| ledger.delivered(number));
        [1, 3, 4].into_iter().for_each(|number| ledger.settle(number));
        let alone = [3, 4].map(|number| Ack { number, multiple: false });
        assert_eq!(ledger.take(true), [&[Ack { number: 1, multiple: true }][..], &alone].concat());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// As the broker sees it: a frame names a delivery that it still waits for, and nothing that is not settled goes.
        #[test]
        fn each_is_acknowledged_once_and_never_before_it_is_settled(order in vec(any::<u64>(), 1..200), turn in 1_usize..20) {
            let count = order.len() as u64;
            let mut numbers: Vec<_> = (1..=count).collect();
            numbers.sort_by_key(|number| order[usize::try_from(*number).unwrap() - 1]);
            let mut ledger = ledger(count);
            let (mut waiting, mut settled): (BTreeSet<_>, BTreeSet<u64>) = ((1..=count).collect(), BTreeSet::new());
            for (n, number) in numbers.iter().enumerate() {
                ledger.settle(*number);
                ledger.settle(*number);
                settled.insert(*number);
                if n % turn == 0 || n + 1 == numbers.len() {
                    for Ack { number, multiple } in ledger.take(n + 1 == numbers.len()) {
                        prop_assert!(waiting.contains(&number));
                        let gone: Vec<_> = waiting.iter().copied().filter(|n| *n == number || (multiple && *n < number)).collect();
                        for one in gone {
                            prop_assert!(settled.contains(&one), "{one} is not settled");
                            waiting.remove(&one);
                        }
                    }
                }
            }
            prop_assert!(waiting.is_empty(), "{waiting:?}");
        }
    }
}
