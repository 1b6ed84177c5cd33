//! Matches returned messages to publishes.
//!
//! The broker returns an unroutable message *before* it confirms it, and the return names no confirm. The client
//! library attaches the oldest waiting return to whichever confirm completes next, so under pipelining it can be
//! attached to another publish, while the confirm of the returned message looks clean. Two rules make the result sound:
//! - whether a message can be routed depends on its exchange and key alone, so a return fails every unresolved publish
//!   of the same route, whichever confirm carried it; at worst a stored message is published again;
//! - a confirm is resolved only when no return can be attached to another publish: all confirms that are ready are
//!   collected first, and if one carries a return, nothing is resolved or published until no confirm is outstanding.

use std::{collections::HashSet, fmt};

/// Exchange and routing key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Route {
    pub(super) exchange: String,
    pub(super) key: String,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exchange {:?} with the routing key {:?}", self.exchange, self.key)
    }
}

/// A confirm that arrived.
pub(super) struct Confirm<T> {
    /// The route of the return that the library attached to this confirm.
    pub(super) returned: Option<Route>,
    pub(super) publish: T,
}

/// Collects confirms until they can be resolved.
pub(super) struct ReturnMatcher<T> {
    unresolved: Vec<Confirm<T>>,
    returned: HashSet<Route>,
}

impl<T> Default for ReturnMatcher<T> {
    fn default() -> Self {
        Self { unresolved: Vec::new(), returned: HashSet::new() }
    }
}

impl<T> ReturnMatcher<T> {
    pub(super) fn push(&mut self, confirm: Confirm<T>) {
        if let Some(returned) = &confirm.returned {
            self.returned.insert(returned.clone());
        }
        self.unresolved.push(confirm);
    }

    /// Whether nothing may be published until all outstanding confirms have arrived.
    pub(super) fn must_drain(&self) -> bool {
        !self.returned.is_empty()
    }

    /// Resolves the collected publishes that can be resolved, each with whether it was routed. Call it when no further
    /// confirm is ready; `outstanding` is the number of confirms still to come.
    pub(super) fn resolve(
        &mut self,
        outstanding: usize,
        route: impl Fn(&T) -> Route,
    ) -> impl Iterator<Item = (T, bool)> {
        let must_wait = self.must_drain() && outstanding > 0;
        let (returned, count) = match must_wait {
            true => (HashSet::new(), 0),
            false => (std::mem::take(&mut self.returned), self.unresolved.len()),
        };
        self.unresolved.drain(..count).map(move |Confirm { publish, .. }| {
            let is_routed = returned.is_empty() || !returned.contains(&route(&publish));
            (publish, is_routed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(key: &str) -> Route {
        Route { exchange: "e".to_owned(), key: key.to_owned() }
    }

    type Publish = (u32, &'static str);

    fn confirm(number: u32, key: &'static str, returned: Option<&str>) -> Confirm<Publish> {
        Confirm { returned: returned.map(route), publish: (number, key) }
    }

    fn resolved(returns: &mut ReturnMatcher<Publish>, outstanding: usize) -> Vec<(u32, bool)> {
        let resolved = returns.resolve(outstanding, |(_, key)| route(key));
        resolved.map(|((number, _), is_routed)| (number, is_routed)).collect()
    }

    #[test]
    fn confirm_without_return_is_resolved_at_once() {
        let mut returns = ReturnMatcher::default();
        returns.push(confirm(1, "a", None));
        assert_eq!(resolved(&mut returns, 5), [(1, true)]);
    }

    #[test]
    fn return_on_own_confirm_fails_its_route_only() {
        let mut returns = ReturnMatcher::default();
        returns.push(confirm(1, "lost", Some("lost")));
        returns.push(confirm(2, "a", None));
        assert_eq!(resolved(&mut returns, 0), [(1, false), (2, true)]);
        returns.push(confirm(3, "lost", None));
        assert_eq!(resolved(&mut returns, 0), [(3, true)], "later publishes of the route are not affected");
    }

    #[test]
    fn return_on_other_confirm_fails_the_returned_publish() {
        let mut returns = ReturnMatcher::default();
        returns.push(confirm(1, "a", Some("lost")));
        returns.push(confirm(2, "lost", None));
        assert_eq!(resolved(&mut returns, 0), [(1, true), (2, false)]);
    }

    #[test]
    fn return_delays_resolution_until_none_is_outstanding() {
        for (first, second) in [((1, "a", true), (2, "lost", false)), ((1, "lost", false), (2, "lost", false))] {
            let mut returns = ReturnMatcher::default();
            returns.push(confirm(first.0, first.1, Some("lost")));
            assert!(returns.must_drain());
            assert_eq!(resolved(&mut returns, 1), []);
            returns.push(confirm(second.0, second.1, None));
            assert_eq!(resolved(&mut returns, 0), [(first.0, first.2), (second.0, second.2)]);
            assert!(!returns.must_drain());
        }
    }
}
