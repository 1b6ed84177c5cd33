//! Rules that wait for matching requests.

use std::{
    fmt,
    num::NonZeroU64,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use fastrand::Rng;
use serde::Deserialize;

use super::action::Action;
use crate::sync::lock;

/// Maximum number of queued rules.
pub const MAX_RULES: usize = 1000;

/// An action for matching requests; as JSON
/// `{"match": {"deviceAddress": "89000000000", "text": "ready", "nth": 3}, "times": 2, "action": {"status": 503}}`.
///
/// This rule acts on the third and the fourth matching request: `times` counts from the nth on and defaults to 1. Of
/// the rules that match a request, the one queued first acts. Its `Debug` omits texts and addresses.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    #[serde(rename = "match", default)]
    matcher: RuleMatcher,
    #[serde(default)]
    times: Option<RuleTimes>,
    #[serde(default)]
    share: Option<RuleShare>,
    action: Action,
}

/// Every condition must hold; the default matches any request.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct RuleMatcher {
    /// Equals the device address.
    device_address: Option<String>,
    /// Is contained in the text.
    text: Option<String>,
    /// Matches from the nth request on, from 1, of those that match otherwise since the rule was queued.
    nth: Option<NonZeroU64>,
}

/// A number above 0, or `"forever"`.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "times is a number above 0, or \"forever\"")]
enum RuleTimes {
    Count(NonZeroU64),
    Unlimited(ForeverKeyword),
}

/// The JSON string `"forever"`.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ForeverKeyword {
    Forever,
}

/// A probability from 0 to 1.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "f64")]
struct RuleShare(f64);

impl TryFrom<f64> for RuleShare {
    type Error = &'static str;

    fn try_from(share: f64) -> Result<Self, Self::Error> {
        (0.0..=1.0).contains(&share).then_some(Self(share)).ok_or("\"share\" is a number from 0 to 1")
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").field("action", &self.action).finish_non_exhaustive()
    }
}

impl Rule {
    /// Acts once, on the next request.
    #[must_use]
    pub fn new(action: impl Into<Action>) -> Self {
        Self { matcher: RuleMatcher::default(), times: None, share: None, action: action.into() }
    }

    /// Acts `times` times; 0 counts as 1.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(RuleTimes::Count(at_least_one(times)));
        self
    }

    /// Acts until the script is cleared.
    #[must_use]
    pub const fn forever(mut self) -> Self {
        self.times = Some(RuleTimes::Unlimited(ForeverKeyword::Forever));
        self
    }

    /// Acts on this share of the matching requests, from 0 to 1, chosen by the seed; without [`Self::times`], forever.
    #[must_use]
    pub const fn share(mut self, share: f64) -> Self {
        self.share = Some(RuleShare(share.clamp(0.0, 1.0)));
        self
    }

    /// Matches requests to this address only.
    #[must_use]
    pub fn to_device(mut self, address: impl Into<String>) -> Self {
        self.matcher.device_address = Some(address.into());
        self
    }

    /// Matches requests whose text contains `part` only.
    #[must_use]
    pub fn with_text(mut self, part: impl Into<String>) -> Self {
        self.matcher.text = Some(part.into());
        self
    }

    /// Matches from the nth request on, from 1, of those that match otherwise; 0 counts as 1.
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        self.matcher.nth = Some(at_least_one(nth));
        self
    }

    /// Maximum number of actions; `None` is unlimited.
    const fn limit(&self) -> Option<u64> {
        match (self.times, self.share) {
            (Some(RuleTimes::Count(times)), _) => Some(times.get()),
            (Some(RuleTimes::Unlimited(_)), _) | (None, Some(_)) => None,
            (None, None) => Some(1),
        }
    }
}

fn at_least_one(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN)
}

/// The parts of a request that rules match.
pub(super) struct RuleInput<'a> {
    pub(super) address: &'a str,
    pub(super) text: &'a str,
    /// The same for the same attempt at the same message in every run, whatever runs concurrently.
    pub(super) seed: u64,
}

/// More than [`MAX_RULES`] rules; none of the new ones was queued.
#[derive(Debug, thiserror::Error)]
#[error("at most {MAX_RULES} rules can be queued; DELETE /script removes the queued ones")]
pub struct ScriptFull;

/// The queued rules, oldest first.
pub(super) struct RuleQueue {
    seed: u64,
    /// Avoids the lock for requests without a script.
    is_empty: AtomicBool,
    state: Mutex<RuleQueueState>,
}

#[derive(Default)]
struct RuleQueueState {
    /// Rules queued since the script was last cleared.
    added: u64,
    rules: Vec<QueuedRule>,
}

struct QueuedRule {
    rule: Rule,
    seed: u64,
    /// Requests that matched, `nth` aside.
    matched: u64,
    acted: u64,
}

impl RuleQueue {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, is_empty: AtomicBool::new(true), state: Mutex::default() }
    }

    /// Queues all rules or none.
    pub(super) fn add(&self, rules: Vec<Rule>) -> Result<(), ScriptFull> {
        let mut state = lock(&self.state);
        if state.rules.len().saturating_add(rules.len()) > MAX_RULES {
            return Err(ScriptFull);
        }
        for rule in rules {
            // A seed per rule, so that two rules with a share of 5 % act on different requests.
            state.added = state.added.wrapping_add(1);
            let seed = self.seed.wrapping_add(state.added);
            state.rules.push(QueuedRule { rule, seed, matched: 0, acted: 0 });
        }
        self.is_empty.store(state.rules.is_empty(), Ordering::Release);
        Ok(())
    }

    pub(super) fn clear(&self) {
        let mut state = lock(&self.state);
        *state = RuleQueueState::default();
        self.is_empty.store(true, Ordering::Release);
    }

    /// The action of the first matching rule; removes the rule if its limit is reached.
    pub(super) fn take_action(&self, input: &RuleInput<'_>) -> Option<Action> {
        if self.is_empty.load(Ordering::Acquire) {
            return None;
        }
        let rules = &mut lock(&self.state).rules;
        let position = rules.iter_mut().position(|queued| queued.matches(input))?;
        let queued = rules.get_mut(position)?;
        queued.acted = queued.acted.saturating_add(1);
        let action = queued.rule.action.clone();
        if queued.is_used_up() {
            rules.remove(position);
            self.is_empty.store(rules.is_empty(), Ordering::Release);
        }
        Some(action)
    }
}

impl QueuedRule {
    fn matches(&mut self, input: &RuleInput<'_>) -> bool {
        let RuleMatcher { device_address, text, nth } = &self.rule.matcher;
        let matches = device_address.as_ref().is_none_or(|address| address == input.address)
            && text.as_ref().is_none_or(|part| input.text.contains(part.as_str()));
        if !matches {
            return false;
        }
        self.matched = self.matched.saturating_add(1);
        nth.is_none_or(|nth| nth.get() <= self.matched) && self.is_in_share(input.seed)
    }

    fn is_in_share(&self, seed: u64) -> bool {
        let random_unit = || Rng::with_seed(self.seed.rotate_left(32) ^ seed).f64();
        self.rule.share.is_none_or(|RuleShare(share)| random_unit() < share)
    }

    fn is_used_up(&self) -> bool {
        self.rule.limit().is_some_and(|limit| self.acted >= limit)
    }
}
