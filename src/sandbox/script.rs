//! Rules that wait for requests to come.

use std::{
    fmt,
    num::NonZeroU64,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use fastrand::Rng;
use serde::Deserialize;

use super::action::Action;

/// Rules that may wait at a time.
pub const MAX_RULES: usize = 1000;

/// What to do to which requests; as JSON
/// `{"match": {"deviceAddress": "89000000000", "text": "ready", "nth": 3}, "times": 2, "action": {"status": 503}}`.
///
/// This one acts on the third and the fourth request that match: `times` counts from the nth on, and is 1 if not said.
/// Of the rules that match a request the one queued first acts. Only a `Debug` without contents: a rule may name a text
/// and an address.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    #[serde(rename = "match", default)]
    matches: Match,
    #[serde(default)]
    times: Option<Times>,
    #[serde(default)]
    share: Option<Share>,
    action: Action,
}

/// All of it must hold; empty matches any request.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Match {
    /// The very address.
    device_address: Option<String>,
    /// The text contains it.
    text: Option<String>,
    /// Not before the nth request, counted from 1, of those that match otherwise since the rule was queued.
    nth: Option<NonZeroU64>,
}

/// A number above 0, or `"forever"`.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "times is a number above 0, or \"forever\"")]
enum Times {
    Count(NonZeroU64),
    Word(Forever),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Forever {
    Forever,
}

/// From 0 to 1.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "f64")]
struct Share(f64);

impl TryFrom<f64> for Share {
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
    /// Acts once, on the next request, whatever it is.
    #[must_use]
    pub fn new(action: impl Into<Action>) -> Self {
        Self { matches: Match::default(), times: None, share: None, action: action.into() }
    }

    /// Acts this often, then is gone; 0 is taken as 1.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(Times::Count(at_least_one(times)));
        self
    }

    /// Acts until the script is cleared.
    #[must_use]
    pub const fn forever(mut self) -> Self {
        self.times = Some(Times::Word(Forever::Forever));
        self
    }

    /// Acts on this share of the requests that match, from 0 to 1, chosen by seed; forever, unless told otherwise.
    #[must_use]
    pub const fn share(mut self, share: f64) -> Self {
        self.share = Some(Share(share.clamp(0.0, 1.0)));
        self
    }

    /// Acts on requests to this address alone.
    #[must_use]
    pub fn to_device(mut self, address: impl Into<String>) -> Self {
        self.matches.device_address = Some(address.into());
        self
    }

    /// Acts on requests whose text contains this.
    #[must_use]
    pub fn with_text(mut self, part: impl Into<String>) -> Self {
        self.matches.text = Some(part.into());
        self
    }

    /// Acts from the nth request on, counted from 1, of those that match otherwise, as often as it may: once, unless told
    /// otherwise; 0 is taken as 1.
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        self.matches.nth = Some(at_least_one(nth));
        self
    }

    /// How often it may act; `None` is forever.
    const fn limit(&self) -> Option<u64> {
        match (self.times, self.share) {
            (Some(Times::Count(times)), _) => Some(times.get()),
            (Some(Times::Word(Forever::Forever)), _) | (None, Some(_)) => None,
            (None, None) => Some(1),
        }
    }
}

fn at_least_one(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN)
}

/// A request as rules see it.
pub(super) struct Sight<'a> {
    pub(super) address: &'a str,
    pub(super) text: &'a str,
    /// The same for the same attempt at the same message in every run, whatever runs beside it.
    pub(super) random_unit: u64,
}

/// More rules than [`MAX_RULES`]; none of the new ones was taken. The remedy: clear the script.
#[derive(Debug, thiserror::Error)]
#[error("at most {MAX_RULES} rules may wait; DELETE /script forgets the old ones")]
pub struct ScriptFull;

/// The rules that wait, in order.
pub(super) struct Script {
    seed: u64,
    /// Spares the plain good path the lock.
    empty: AtomicBool,
    rules: Mutex<Rules>,
}

#[derive(Default)]
struct Rules {
    /// Since the script was last cleared.
    added: u64,
    waiting: Vec<Waiting>,
}

struct Waiting {
    rule: Rule,
    seed: u64,
    seen: u64,
    acted: u64,
}

impl Script {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, empty: AtomicBool::new(true), rules: Mutex::default() }
    }

    pub(super) fn add(&self, new: Vec<Rule>) -> Result<(), ScriptFull> {
        let mut rules = self.lock();
        if rules.waiting.len().saturating_add(new.len()) > MAX_RULES {
            return Err(ScriptFull);
        }
        for rule in new {
            // Each rule throws random_unit of its own: two of 5 % hit different requests.
            rules.added = rules.added.wrapping_add(1);
            let seed = self.seed.wrapping_add(rules.added);
            rules.waiting.push(Waiting { rule, seed, seen: 0, acted: 0 });
        }
        self.empty.store(rules.waiting.is_empty(), Ordering::Release);
        Ok(())
    }

    pub(super) fn clear(&self) {
        let mut rules = self.lock();
        *rules = Rules::default();
        self.empty.store(true, Ordering::Release);
    }

    /// The action of the first rule that matches; a rule that has acted often enough leaves.
    pub(super) fn pick(&self, sight: &Sight<'_>) -> Option<Action> {
        if self.empty.load(Ordering::Acquire) {
            return None;
        }
        let waiting = &mut self.lock().waiting;
        let position = waiting.iter_mut().position(|rule| rule.meets(sight))?;
        let met = waiting.get_mut(position)?;
        met.acted = met.acted.saturating_add(1);
        let action = met.rule.action.clone();
        if met.is_over() {
            waiting.remove(position);
            self.empty.store(waiting.is_empty(), Ordering::Release);
        }
        Some(action)
    }

    fn lock(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn meets(&mut self, sight: &Sight<'_>) -> bool {
        let Match { device_address, text, nth } = &self.rule.matches;
        let matches = device_address.as_ref().is_none_or(|address| address == sight.address)
            && text.as_ref().is_none_or(|part| sight.text.contains(part.as_str()));
        if !matches {
            return false;
        }
        self.seen = self.seen.saturating_add(1);
        nth.is_none_or(|nth| nth.get() <= self.seen) && self.hits(sight.random_unit)
    }

    fn hits(&self, random_unit: u64) -> bool {
        let roll = || Rng::with_seed(self.seed.rotate_left(32) ^ random_unit).f64();
        self.rule.share.is_none_or(|Share(share)| roll() < share)
    }

    fn is_over(&self) -> bool {
        self.rule.limit().is_some_and(|limit| self.acted >= limit)
    }
}
