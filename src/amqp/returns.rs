//! Which confirms may be believed.
//!
//! The broker returns an unroutable message *before* it confirms it, and the return names no confirm. The client library
//! hands the oldest waiting return to whichever confirm completes next, so under pipelining it can sit on a neighbour,
//! and the victim's own confirm looks clean. Two rules make it sound again:
//! - whether a message can be routed depends on its exchange and key alone, so a return condemns every unjudged message
//!   with the same address, whichever confirm carried it; at worst a stored one is published again;
//! - a confirm is judged only once no return can sit on a neighbour: all confirms that are ready are collected first, and
//!   when one carried a return, nothing is judged and nothing published until no confirm is outstanding.

use std::collections::HashSet;

/// Exchange and routing key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub(super) exchange: String,
    pub(super) key: String,
}

/// A confirm that arrived.
pub(super) struct Confirmed<T> {
    /// The address of the return that the library attached to this confirm.
    pub(super) returned: Option<Address>,
    pub(super) item: T,
}

/// Collects confirms until they can be judged.
pub(super) struct Returns<T> {
    waiting: Vec<Confirmed<T>>,
    returned: HashSet<Address>,
}

impl<T> Default for Returns<T> {
    fn default() -> Self {
        Self { waiting: Vec::new(), returned: HashSet::new() }
    }
}

impl<T> Returns<T> {
    /// Takes a confirm in.
    pub(super) fn collect(&mut self, confirmed: Confirmed<T>) {
        if let Some(returned) = &confirmed.returned {
            self.returned.insert(returned.clone());
        }
        self.waiting.push(confirmed);
    }

    /// Whether nothing more may be published until all outstanding confirms are in.
    pub(super) fn must_settle(&self) -> bool {
        !self.returned.is_empty()
    }

    /// Judges what can be judged, when no further confirm is ready and `outstanding` are still to come:
    /// each item, and whether it was routed. `address` tells where an item was sent to.
    pub(super) fn judge(
        &mut self,
        outstanding: usize,
        address: impl Fn(&T) -> Address,
    ) -> impl Iterator<Item = (T, bool)> {
        let must_wait = self.must_settle() && outstanding > 0;
        let (returned, count) = match must_wait {
            true => (HashSet::new(), 0),
            false => (std::mem::take(&mut self.returned), self.waiting.len()),
        };
        let judged = self.waiting.drain(..count);
        judged.map(move |Confirmed { item, .. }| {
            let is_routed = returned.is_empty() || !returned.contains(&address(&item));
            (item, is_routed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(key: &str) -> Address {
        Address { exchange: "e".to_owned(), key: key.to_owned() }
    }

    type Item = (u32, &'static str);

    fn confirmed(number: u32, key: &'static str, returned: Option<&str>) -> Confirmed<Item> {
        Confirmed { returned: returned.map(address), item: (number, key) }
    }

    fn judged(returns: &mut Returns<Item>, outstanding: usize) -> Vec<(u32, bool)> {
        let judged = returns.judge(outstanding, |(_, key)| address(key));
        judged.map(|((number, _), is_routed)| (number, is_routed)).collect()
    }

    #[test]
    fn clean_confirms_are_believed_at_once() {
        let mut returns = Returns::default();
        returns.collect(confirmed(1, "a", None));
        assert_eq!(judged(&mut returns, 5), [(1, true)]);
    }

    #[test]
    fn a_return_on_its_own_confirm_condemns_it_and_its_address_only() {
        let mut returns = Returns::default();
        returns.collect(confirmed(1, "lost", Some("lost")));
        returns.collect(confirmed(2, "a", None));
        assert_eq!(judged(&mut returns, 0), [(1, false), (2, true)]);
        returns.collect(confirmed(3, "lost", None));
        assert_eq!(judged(&mut returns, 0), [(3, true)], "the next of that address may be routed again");
    }

    #[test]
    fn a_return_on_a_neighbour_condemns_the_victim_not_the_neighbour() {
        let mut returns = Returns::default();
        returns.collect(confirmed(1, "a", Some("lost")));
        returns.collect(confirmed(2, "lost", None));
        assert_eq!(judged(&mut returns, 0), [(1, true), (2, false)]);
    }

    #[test]
    fn a_return_stops_the_judging_until_none_is_outstanding() {
        for (first, second) in [((1, "a", true), (2, "lost", false)), ((1, "lost", false), (2, "lost", false))] {
            let mut returns = Returns::default();
            returns.collect(confirmed(first.0, first.1, Some("lost")));
            assert!(returns.must_settle());
            assert_eq!(judged(&mut returns, 1), []);
            returns.collect(confirmed(second.0, second.1, None));
            assert_eq!(judged(&mut returns, 0), [(first.0, first.2), (second.0, second.2)]);
            assert!(!returns.must_settle());
        }
    }
}
