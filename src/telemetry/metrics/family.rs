//! How families are declared: registered once, every child resolved at once, so that all of them are there at zero
//! from the first scrape and counting one is an atomic addition.

use std::time::Duration;

use prometheus::{
    Error, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, core::Collector,
};

/// What every name of ours starts with.
const NAMESPACE: &str = "courier";

/// The children of one family by the key that they count, in the order of the closed set.
///
/// The sets are small (15 at most), so a search along them costs less than a hash.
#[derive(Debug)]
pub(crate) struct Children<K, M>(Vec<(K, M)>);

impl<K: Copy + PartialEq, M> Children<K, M> {
    /// The child of a key; `None` only for what is outside of the closed set.
    fn get(&self, key: K) -> Option<&M> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, child)| child)
    }
}

impl<K: Copy + PartialEq> Children<K, IntCounter> {
    pub(super) fn inc(&self, key: K) {
        if let Some(counter) = self.get(key) {
            counter.inc();
        }
    }

    pub(super) fn inc_by(&self, key: K, more: u64) {
        if let Some(counter) = self.get(key) {
            counter.inc_by(more);
        }
    }
}

impl<K: Copy + PartialEq> Children<K, IntGauge> {
    pub(super) fn set(&self, key: K, yes: bool) {
        if let Some(gauge) = self.get(key) {
            gauge.set(i64::from(yes));
        }
    }
}

impl<K: Copy + PartialEq> Children<K, Histogram> {
    pub(super) fn observe(&self, key: K, took: Duration) {
        if let Some(histogram) = self.get(key) {
            histogram.observe(took.as_secs_f64());
        }
    }
}

/// Name and help of a family; the name without its prefix.
pub(super) type Words = (&'static str, &'static str);

/// Declares families in one registry. Fails when a name is taken or not allowed, so never after the first test.
pub(super) struct Families<'a>(pub(super) &'a Registry);

impl Families<'_> {
    fn register<C: Collector + Clone + 'static>(&self, family: C) -> Result<C, Error> {
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }

    pub(super) fn counter(&self, words: Words) -> Result<IntCounter, Error> {
        self.register(IntCounter::with_opts(opts(words))?)
    }

    pub(super) fn gauge(&self, words: Words) -> Result<IntGauge, Error> {
        self.register(IntGauge::with_opts(opts(words))?)
    }

    pub(super) fn fractional_gauge(&self, words: Words) -> Result<Gauge, Error> {
        self.register(Gauge::with_opts(opts(words))?)
    }

    pub(super) fn histogram(&self, words: Words, bounds_s: &[f64]) -> Result<Histogram, Error> {
        self.register(Histogram::with_opts(histogram_opts(words, bounds_s))?)
    }

    pub(super) fn counters<'k, K, const N: usize>(
        &self,
        words: Words,
        labels: [&str; N],
        keys: impl IntoIterator<Item = (K, [&'k str; N])>,
    ) -> Result<Children<K, IntCounter>, Error> {
        let family = self.register(IntCounterVec::new(opts(words), &labels)?)?;
        children(keys, |values| family.get_metric_with_label_values(values))
    }

    pub(super) fn gauges<K, const N: usize>(
        &self,
        words: Words,
        labels: [&str; N],
        keys: impl IntoIterator<Item = (K, [&'static str; N])>,
    ) -> Result<Children<K, IntGauge>, Error> {
        let family = self.register(IntGaugeVec::new(opts(words), &labels)?)?;
        children(keys, |values| family.get_metric_with_label_values(values))
    }

    pub(super) fn histograms<K, const N: usize>(
        &self,
        words: Words,
        bounds_s: &[f64],
        labels: [&str; N],
        keys: impl IntoIterator<Item = (K, [&'static str; N])>,
    ) -> Result<Children<K, Histogram>, Error> {
        let family = self.register(HistogramVec::new(histogram_opts(words, bounds_s), &labels)?)?;
        children(keys, |values| family.get_metric_with_label_values(values))
    }
}

fn opts((name, help): Words) -> Opts {
    Opts::new(name, help).namespace(NAMESPACE)
}

fn histogram_opts(words: Words, bounds_s: &[f64]) -> HistogramOpts {
    HistogramOpts { common_opts: opts(words), buckets: bounds_s.to_vec() }
}

fn children<'k, K, M, const N: usize>(
    keys: impl IntoIterator<Item = (K, [&'k str; N])>,
    resolve: impl Fn(&[&str]) -> Result<M, Error>,
) -> Result<Children<K, M>, Error> {
    keys.into_iter().map(|(key, values)| Ok((key, resolve(&values)?))).collect::<Result<_, _>>().map(Children)
}
