//! How many attempts may start in a second: token buckets for the whole target and for each class of commands.
//!
//! What holds: over any stretch of time `t`, a bucket lets at most `rate · t + burst` attempts start. A token is taken
//! only together with all others that the attempt needs, so a wait for one bucket costs nothing in another. What does
//! not: a daemon knows nothing of others that post to the same target, so each needs its share as its rate.

use std::time::Duration;

/// What takes the place of a rate that is no positive number: next to nothing, but a wait that can be computed with.
const NEXT_TO_NEVER: Duration = Duration::from_secs(365 * 24 * 3_600);

/// A token bucket; times are counted from some start.
///
/// It keeps the one moment at which it will be full again. That makes it exact: who waits as long as told finds a token.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    /// The time that brings one token.
    step: Duration,
    /// How far ahead of now `full_at` may be for a token to be left: the time that brings all tokens but one.
    slack: Duration,
    full_at: Duration,
}

impl TokenBucket {
    /// A full bucket that gets `per_second` tokens a second and holds those of a tenth of a second, at least one.
    #[must_use]
    pub fn new(per_second: f64) -> Self {
        let (step, slack) = steps(per_second);
        Self { step, slack, full_at: Duration::ZERO }
    }

    /// Another rate from now on. What has been used stays used: as many tokens are missing as before, or all.
    pub fn set_rate(&mut self, per_second: f64, now: Duration) {
        let missing = self.full_at.saturating_sub(now).as_secs_f64() / self.step.as_secs_f64();
        (self.step, self.slack) = steps(per_second);
        let refill = Duration::try_from_secs_f64(missing * self.step.as_secs_f64()).unwrap_or(NEXT_TO_NEVER);
        self.full_at = now.saturating_add(refill.min(self.slack.saturating_add(self.step)));
    }

    /// How long until there is a token; zero when there is one.
    #[must_use]
    pub fn wait(&self, now: Duration) -> Duration {
        self.full_at.saturating_sub(now.saturating_add(self.slack))
    }

    /// Takes a token.
    ///
    /// # Errors
    /// The wait for one, when there is none.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let wait = self.wait(now);
        if wait.is_zero() {
            self.full_at = self.full_at.max(now).saturating_add(self.step);
            return Ok(());
        }
        Err(wait)
    }
}

/// The time that brings a token, rounded up so that the rate is never exceeded, and the time that brings all but one.
fn steps(per_second: f64) -> (Duration, Duration) {
    let step = Duration::try_from_secs_f64(1.0 / per_second).unwrap_or(NEXT_TO_NEVER).min(NEXT_TO_NEVER);
    let step = step.saturating_add(Duration::from_nanos(1));
    let burst = (per_second / 10.0).floor().clamp(1.0, 1e9);
    (step, Duration::try_from_secs_f64(step.as_secs_f64() * (burst - 1.0)).unwrap_or_default())
}

/// The rates of the settings; none is no limit. All in attempts a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// For everything.
    pub target: Option<f64>,
    /// For each class, by its index.
    pub classes: Vec<Option<f64>>,
    /// The least time between the starts of two attempts for one key; zero is no limit.
    pub key_interval: Duration,
}

/// All that an attempt may have to wait for besides its turn.
#[derive(Clone, Debug, Default)]
pub struct RateLimiter {
    target: Option<TokenBucket>,
    classes: Vec<Option<TokenBucket>>,
    key_interval: Duration,
}

impl RateLimiter {
    /// With full buckets.
    #[must_use]
    pub fn new(rates: &Rates) -> Self {
        Self {
            target: rates.target.map(TokenBucket::new),
            classes: rates.classes.iter().map(|rate| rate.map(TokenBucket::new)).collect(),
            key_interval: rates.key_interval,
        }
    }

    /// Other rates from now on; a class keeps what it has used. A limit that is new begins with a full bucket.
    pub fn set(&mut self, rates: &Rates, now: Duration) {
        change(&mut self.target, rates.target, now);
        self.classes.resize(rates.classes.len(), None);
        for (bucket, rate) in self.classes.iter_mut().zip(&rates.classes) {
            change(bucket, *rate, now);
        }
        self.key_interval = rates.key_interval;
    }

    /// The least time between the starts of two attempts for one key.
    #[must_use]
    pub fn key_interval(&self) -> Duration {
        self.key_interval
    }

    /// How long until an attempt of this class may start; zero when it may. An unknown class has no rate of its own.
    #[must_use]
    pub fn wait(&self, class: usize, now: Duration) -> Duration {
        let class = self.classes.get(class).and_then(Option::as_ref);
        let waits = class.into_iter().chain(&self.target).map(|bucket| bucket.wait(now));
        waits.max().unwrap_or_default()
    }

    /// Takes a token of each bucket, or none at all.
    ///
    /// # Errors
    /// The wait until there is one in each.
    pub fn take(&mut self, class: usize, now: Duration) -> Result<(), Duration> {
        let wait = self.wait(class, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        let class = self.classes.get_mut(class).and_then(Option::as_mut);
        class.into_iter().chain(&mut self.target).try_for_each(|bucket| bucket.take(now))
    }
}

fn change(bucket: &mut Option<TokenBucket>, per_second: Option<f64>, now: Duration) {
    match (bucket.as_mut(), per_second) {
        (Some(bucket), Some(rate)) => bucket.set_rate(rate, now),
        (_, rate) => *bucket = rate.map(TokenBucket::new),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn s(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Over every stretch between two starts, under one rate.
        #[test]
        fn the_rate_is_never_exceeded(rate in 0.1_f64..5_000.0, gaps_ms in vec(0.0_f64..300.0, 1..50)) {
            let (mut bucket, mut now, mut starts) = (TokenBucket::new(rate), Duration::ZERO, Vec::new());
            for gap_ms in gaps_ms {
                now += s(gap_ms / 1_000.0 / rate.min(10.0));
                while bucket.take(now).is_ok() {
                    starts.push(now);
                }
            }
            // The starts from the n-th to the m-th are m - n + 1, and rate · time + burst are allowed.
            let (burst, mut least) = ((rate / 10.0).max(1.0), f64::INFINITY);
            for (n, start) in starts.iter().enumerate() {
                let ahead = n as f64 - rate * start.as_secs_f64();
                least = least.min(ahead);
                prop_assert!(ahead - least + 1.0 <= burst + 1e-6, "{n}: {} too many", ahead - least + 1.0 - burst);
            }
        }

        /// No lost time: who waits as told gets its token, and the whole rate is used.
        #[test]
        fn the_told_wait_is_exact(rate in 0.1_f64..5_000.0, other in 0.1_f64..5_000.0) {
            let (mut bucket, mut now) = (TokenBucket::new(rate), s(7.0));
            for n in 0..200 {
                if n == 100 {
                    bucket.set_rate(other, now);
                }
                if let Err(wait) = bucket.take(now) {
                    prop_assert!(bucket.wait(now + wait - Duration::from_nanos(1)) > Duration::ZERO);
                    now += wait;
                    prop_assert_eq!(bucket.take(now), Ok(()));
                }
            }
            let least = (100.0 - (rate / 10.0).max(1.0)).max(0.0) / rate;
            let most = 100.0 / rate + 101.0 / other + 1e-3;
            prop_assert!((least..=most).contains(&(now - s(7.0)).as_secs_f64()));
        }
    }

    #[test]
    fn a_change_of_the_rate_gives_nothing_away() {
        let mut bucket = TokenBucket::new(100.0);
        (0..10).for_each(|_| bucket.take(Duration::ZERO).unwrap());
        assert!(bucket.take(Duration::ZERO).is_err());
        bucket.set_rate(10.0, Duration::ZERO);
        let wait = bucket.take(Duration::ZERO).unwrap_err();
        assert!(wait >= s(0.1) && wait < s(0.11), "the smaller bucket is empty: {wait:?}");
        bucket.set_rate(1_000.0, Duration::ZERO);
        assert!(bucket.take(Duration::ZERO).is_ok(), "the larger bucket holds more");
    }

    #[test]
    fn a_wait_for_one_bucket_costs_no_token_of_another() {
        let rates = Rates { target: Some(10.0), classes: vec![Some(1.0), None], key_interval: Duration::ZERO };
        let mut pace = RateLimiter::new(&rates);
        assert!(pace.take(0, Duration::ZERO).is_ok());
        assert!(pace.take(0, s(0.2)).is_err());
        assert!(pace.take(1, s(0.2)).is_ok(), "the target's token is still there");
        assert!(pace.take(1, s(0.2)).is_err(), "and is used now");
        assert!(pace.take(7, s(0.4)).is_ok(), "an unknown class has no rate of its own");
        pace.set(&Rates::default(), s(0.4));
        assert!((0..1_000).all(|_| pace.take(0, s(0.4)).is_ok()), "no limit any more");
    }

    #[test]
    fn a_rate_that_is_no_number_does_no_harm() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 1e300] {
            let mut bucket = TokenBucket::new(rate);
            let _ = (bucket.take(Duration::ZERO), bucket.take(Duration::MAX));
            bucket.set_rate(5.0, s(1.0));
            let _ = bucket.take(Duration::MAX);
        }
    }
}
