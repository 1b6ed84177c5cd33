//! Rate limits: token buckets for the whole target and for each class of commands.
//!
//! Over any interval `t`, a bucket of `rate` lets at most `rate · t + burst` attempts start, with a burst of a tenth of
//! a second's tokens, at least one. An attempt takes one token of each bucket that applies to it at once or none, so
//! waiting for one bucket uses nothing up in another. Each daemon has its own buckets: several daemons on one target
//! must be configured with a share of its rate each.

use std::time::Duration;

/// The time for one token when the rate is not a positive number: practically never, but without overflow.
const LONGEST_TOKEN_TIME: Duration = Duration::from_secs(365 * 24 * 3_600);

/// A token bucket. Times are durations since a fixed start on a monotonic clock.
///
/// Its state is the time at which it will be full, so there is no rounding: after the wait that [`Self::wait`] returns
/// there is a token.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    /// The time in which one token is added.
    token_time: Duration,
    /// The time in which all tokens but one are added: a token is left while `full_at` is at most this far ahead.
    burst_time: Duration,
    full_at: Duration,
}

impl TokenBucket {
    /// Creates a full bucket to which `per_second` tokens a second are added.
    #[must_use]
    pub fn new(per_second: f64) -> Self {
        let (token_time, burst_time) = token_and_burst_time(per_second);
        Self { token_time, burst_time, full_at: Duration::ZERO }
    }

    /// Changes the rate. As many tokens as before are missing, at most all.
    pub fn set_rate(&mut self, per_second: f64, now: Duration) {
        let missing = self.full_at.saturating_sub(now).as_secs_f64() / self.token_time.as_secs_f64();
        (self.token_time, self.burst_time) = token_and_burst_time(per_second);
        let refill = missing * self.token_time.as_secs_f64();
        let refill = Duration::try_from_secs_f64(refill).unwrap_or(LONGEST_TOKEN_TIME);
        self.full_at = now.saturating_add(refill.min(self.burst_time.saturating_add(self.token_time)));
    }

    /// Returns the time until there is a token; zero when there is one.
    #[must_use]
    pub fn wait(&self, now: Duration) -> Duration {
        self.full_at.saturating_sub(now.saturating_add(self.burst_time))
    }

    /// Takes a token.
    ///
    /// # Errors
    /// If no token is left, the time until the next one.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let wait = self.wait(now);
        if wait.is_zero() {
            self.full_at = self.full_at.max(now).saturating_add(self.token_time);
            return Ok(());
        }
        Err(wait)
    }
}

/// The time for one token, rounded up so that the rate is never exceeded, and the time for a full bucket but one token.
fn token_and_burst_time(per_second: f64) -> (Duration, Duration) {
    let token_time = Duration::try_from_secs_f64(1.0 / per_second).unwrap_or(LONGEST_TOKEN_TIME);
    let token_time = token_time.min(LONGEST_TOKEN_TIME).saturating_add(Duration::from_nanos(1));
    let burst = (per_second / 10.0).floor().clamp(1.0, 1e9);
    (token_time, Duration::try_from_secs_f64(token_time.as_secs_f64() * (burst - 1.0)).unwrap_or_default())
}

/// The configured rates, in attempts a second; `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// The rate of the target, for all attempts together.
    pub target: Option<f64>,
    /// The rate of each class, by its index.
    pub classes: Vec<Option<f64>>,
    /// The least time between the starts of two attempts for one ordering key; zero is no limit.
    pub key_interval: Duration,
}

/// The buckets of the target and of all classes.
#[derive(Clone, Debug, Default)]
pub struct RateLimiter {
    target: Option<TokenBucket>,
    classes: Vec<Option<TokenBucket>>,
    key_interval: Duration,
}

impl RateLimiter {
    /// Creates full buckets.
    #[must_use]
    pub fn new(rates: &Rates) -> Self {
        Self {
            target: rates.target.map(TokenBucket::new),
            classes: rates.classes.iter().map(|rate| rate.map(TokenBucket::new)).collect(),
            key_interval: rates.key_interval,
        }
    }

    /// Changes the rates. Used tokens stay used; a bucket that did not exist starts full.
    pub fn set_rates(&mut self, rates: &Rates, now: Duration) {
        set_rate(&mut self.target, rates.target, now);
        self.classes.resize(rates.classes.len(), None);
        for (bucket, rate) in self.classes.iter_mut().zip(&rates.classes) {
            set_rate(bucket, *rate, now);
        }
        self.key_interval = rates.key_interval;
    }

    /// The least time between the starts of two attempts for one ordering key.
    #[must_use]
    pub fn key_interval(&self) -> Duration {
        self.key_interval
    }

    /// The time per attempt at the class's own rate; `None` without one.
    #[must_use]
    pub fn class_token_time(&self, class: usize) -> Option<Duration> {
        self.classes.get(class)?.as_ref().map(|bucket| bucket.token_time)
    }

    /// The time until the class has a token of its own; zero when it has one, or no rate.
    #[must_use]
    pub fn class_wait(&self, class: usize, now: Duration) -> Duration {
        self.classes.get(class).and_then(Option::as_ref).map(|bucket| bucket.wait(now)).unwrap_or_default()
    }

    /// Returns the time until an attempt of this class may start; zero when it may. An unknown class has no own rate.
    #[must_use]
    pub fn wait(&self, class: usize, now: Duration) -> Duration {
        let target = self.target.as_ref().map(|bucket| bucket.wait(now));
        self.class_wait(class, now).max(target.unwrap_or_default())
    }

    /// Takes a token of the class and of the target, or none at all.
    ///
    /// # Errors
    /// The time until both have one.
    pub fn take(&mut self, class: usize, now: Duration) -> Result<(), Duration> {
        let wait = self.wait(class, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        let class = self.classes.get_mut(class).and_then(Option::as_mut);
        class.into_iter().chain(&mut self.target).try_for_each(|bucket| bucket.take(now))
    }
}

fn set_rate(bucket: &mut Option<TokenBucket>, per_second: Option<f64>, now: Duration) {
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

        /// Over every interval between two starts.
        #[test]
        fn bucket_any_interval_keeps_the_rate(rate in 0.1_f64..5_000.0, gaps_ms in vec(0.0_f64..300.0, 1..50)) {
            let (mut bucket, mut now, mut starts) = (TokenBucket::new(rate), Duration::ZERO, Vec::new());
            for gap_ms in gaps_ms {
                now += s(gap_ms / 1_000.0 / rate.min(10.0));
                while bucket.take(now).is_ok() {
                    starts.push(now);
                }
            }
            // m - n + 1 starts from the n-th to the m-th, of which rate · time + burst are allowed.
            let (burst, mut least) = ((rate / 10.0).max(1.0), f64::INFINITY);
            for (n, start) in starts.iter().enumerate() {
                let ahead = n as f64 - rate * start.as_secs_f64();
                least = least.min(ahead);
                prop_assert!(ahead - least + 1.0 <= burst + 1e-6, "{n}: {} too many", ahead - least + 1.0 - burst);
            }
        }

        /// After the returned wait there is a token, so the whole rate is used.
        #[test]
        fn bucket_wait_is_exact(rate in 0.1_f64..5_000.0, other in 0.1_f64..5_000.0) {
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
    fn bucket_rate_change_keeps_used_tokens_used() {
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
    fn limiter_wait_for_one_bucket_takes_no_token_of_another() {
        let rates = Rates { target: Some(10.0), classes: vec![Some(1.0), None], key_interval: Duration::ZERO };
        let mut limiter = RateLimiter::new(&rates);
        assert!(limiter.take(0, Duration::ZERO).is_ok());
        assert!(limiter.take(0, s(0.2)).is_err());
        assert!(limiter.take(1, s(0.2)).is_ok(), "the target's token is still there");
        assert!(limiter.take(1, s(0.2)).is_err(), "and is used up now");
        assert!(limiter.take(7, s(0.4)).is_ok(), "an unknown class has no rate");
        limiter.set_rates(&Rates::default(), s(0.4));
        assert!((0..1_000).all(|_| limiter.take(0, s(0.4)).is_ok()), "no limit");
    }

    #[test]
    fn bucket_invalid_rate_does_not_panic() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 1e300] {
            let mut bucket = TokenBucket::new(rate);
            let _ = (bucket.take(Duration::ZERO), bucket.take(Duration::MAX));
            bucket.set_rate(5.0, s(1.0));
            let _ = bucket.take(Duration::MAX);
        }
    }
}
