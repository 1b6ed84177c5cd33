//! Registration of metric families. The children of a family are created at registration: a scrape shows every label
//! value at zero from the start, and counting is an atomic addition.

use std::time::Duration;

use prometheus::{
    Error, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, core::Collector,
};

use crate::telemetry::gauge_guard::GaugeGuard;

/// The prefix of every metric name.
const NAMESPACE: &str = "courier";

/// The children of one family with their keys. The label sets are small (16 at most): a linear search costs less than
/// a hash.
#[derive(Debug)]
pub(crate) struct Children<K, M>(Vec<(K, M)>);

impl<K: Copy + PartialEq, M> Children<K, M> {
    /// `None` only for a key outside the closed set.
    fn get(&self, key: K) -> Option<&M> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, child)| child)
    }
}

impl<K: Copy + PartialEq> Children<K, IntCounter> {
    pub(super) fn inc(&self, key: K) {
        self.inc_by(key, 1);
    }

    pub(super) fn inc_by(&self, key: K, increment: u64) {
        if let Some(counter) = self.get(key) {
            counter.inc_by(increment);
        }
    }
}

impl<K: Copy + PartialEq> Children<K, IntGauge> {
    pub(super) fn set(&self, key: K, value: bool) {
        if let Some(gauge) = self.get(key) {
            gauge.set(i64::from(value));
        }
    }

    pub(super) fn set_to(&self, key: K, value: i64) {
        if let Some(gauge) = self.get(key) {
            gauge.set(value);
        }
    }

    /// Increments the gauge until the guard is dropped.
    pub(crate) fn guard(&self, key: K) -> Option<GaugeGuard> {
        self.get(key).map(GaugeGuard::new)
    }
}

impl<K: Copy + PartialEq> Children<K, Histogram> {
    pub(super) fn observe(&self, key: K, took: Duration) {
        if let Some(histogram) = self.get(key) {
            histogram.observe(took.as_secs_f64());
        }
    }
}

/// The name of a family, without its prefix, and its help text.
pub(super) type NameAndHelp = (&'static str, &'static str);

/// Registers families in one registry; fails if a name is taken or invalid.
pub(super) struct Families<'a>(pub(super) &'a Registry);

impl Families<'_> {
    fn register<C: Collector + Clone + 'static>(&self, family: C) -> Result<C, Error> {
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }

    pub(super) fn counter(&self, name: NameAndHelp) -> Result<IntCounter, Error> {
        self.register(IntCounter::with_opts(opts(name))?)
    }

    pub(super) fn gauge(&self, name: NameAndHelp) -> Result<IntGauge, Error> {
        self.register(IntGauge::with_opts(opts(name))?)
    }

    pub(super) fn float_gauge(&self, name: NameAndHelp) -> Result<Gauge, Error> {
        self.register(Gauge::with_opts(opts(name))?)
    }

    pub(super) fn histogram(&self, name: NameAndHelp, bounds_s: &[f64]) -> Result<Histogram, Error> {
        self.register(Histogram::with_opts(histogram_opts(name, bounds_s))?)
    }

    pub(super) fn counters<'k, K, const N: usize>(
        &self,
        name: NameAndHelp,
        labels: [&str; N],
        keys: impl IntoIterator<Item = (K, [&'k str; N])>,
    ) -> Result<Children<K, IntCounter>, Error> {
        let family = self.register(IntCounterVec::new(opts(name), &labels)?)?;
        children(keys, |values| family.get_metric_with_label_values(values))
    }

    pub(super) fn gauges<'k, K, const N: usize>(
        &self,
        name: NameAndHelp,
        labels: [&str; N],
        keys: impl IntoIterator<Item = (K, [&'k str; N])>,
    ) -> Result<Children<K, IntGauge>, Error> {
        let family = self.register(IntGaugeVec::new(opts(name), &labels)?)?;
        children(keys, |values| family.get_metric_with_label_values(values))
    }

    pub(super) fn histograms<K, const N: usize>(
        &self,
        name: NameAndHelp,
        bounds_s: &[f64],
        labels: [&str; N],
        keys: impl IntoIterator<Item = (K, [&'static str; N])>,
    ) -> Result<Children<K, Histogram>, Error> {
        let family = self.register(HistogramVec::new(histogram_opts(name, bounds_s), &labels)?)?;
        children(keys, |values| family.get_metric_with_label_values(values))
    }
}

fn opts((name, help): NameAndHelp) -> Opts {
    Opts::new(name, help).namespace(NAMESPACE)
}

fn histogram_opts(name: NameAndHelp, bounds_s: &[f64]) -> HistogramOpts {
    HistogramOpts { common_opts: opts(name), buckets: bounds_s.to_vec() }
}

fn children<'k, K, M, const N: usize>(
    keys: impl IntoIterator<Item = (K, [&'k str; N])>,
    child: impl Fn(&[&str]) -> Result<M, Error>,
) -> Result<Children<K, M>, Error> {
    keys.into_iter().map(|(key, values)| Ok((key, child(&values)?))).collect::<Result<_, _>>().map(Children)
}
