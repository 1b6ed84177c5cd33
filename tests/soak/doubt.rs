//! Which faults can justify a doubt or a second publication of an outcome, and when.

/// Tolerance at both ends of a disturbance, as its times are taken by another process.
const SLACK_MS: u64 = 2_000;

/// A deployment of daemons with its own queues and journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Site {
    /// One daemon with a journal in a directory.
    File,
    /// Two daemons with one queue and a journal in Redis.
    Redis,
}

impl Site {
    pub(crate) const ALL: [Self; 2] = [Self::File, Self::Redis];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Redis => "redis",
        }
    }
}

/// What a disturbance can cause besides a delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// Attempts may stay without a known result.
    pub(crate) doubt: bool,
    /// The broker may deliver commands again, and outcomes may be published again as if for the first time.
    pub(crate) redelivery: bool,
    /// The journal loses records: a command whose outcome is published may be attempted again.
    pub(crate) lost_records: bool,
}

impl Effects {
    pub(crate) const NONE: Self = Self { doubt: false, redelivery: false, lost_records: false };
    pub(crate) const DOUBT: Self = Self { doubt: true, ..Self::NONE };
    pub(crate) const REDELIVERY: Self = Self { redelivery: true, ..Self::NONE };
    pub(crate) const CRASH: Self = Self { doubt: true, redelivery: true, ..Self::NONE };
    pub(crate) const JOURNAL_LOSS: Self = Self { doubt: true, redelivery: true, lost_records: true };
}

/// One fault. Times are in ms since the start of the run.
#[derive(Clone, Debug)]
pub(crate) struct Disturbance {
    /// `None` for all.
    site: Option<Site>,
    effects: Effects,
    from_ms: u64,
    /// `None` while it lasts.
    to_ms: Option<u64>,
    cause: String,
}

impl Disturbance {
    fn overlaps(&self, site: Site, from_ms: u64, to_ms: u64) -> bool {
        let ends_after = self.to_ms.is_none_or(|end| end.saturating_add(SLACK_MS) >= from_ms);
        self.site.is_none_or(|own| own == site) && self.from_ms <= to_ms.saturating_add(SLACK_MS) && ends_after
    }
}

impl std::fmt::Display for Disturbance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let site = self.site.map_or("both", Site::as_str);
        let end = self.to_ms.map_or_else(|| "the end".to_owned(), |end| end.to_string());
        write!(f, "{} to {end}: {} ({site})", self.from_ms, self.cause)
    }
}

/// All faults of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disturbances(Vec<Disturbance>);

impl Disturbances {
    /// Begins a disturbance of one deployment, or of all; returns its number for [`Self::end`].
    pub(crate) fn begin(&mut self, site: Option<Site>, effects: Effects, cause: String, now_ms: u64) -> usize {
        self.0.push(Disturbance { site, effects, from_ms: now_ms, to_ms: None, cause });
        self.0.len() - 1
    }

    pub(crate) fn end(&mut self, number: usize, now_ms: u64) {
        if let Some(disturbance) = self.0.get_mut(number) {
            disturbance.to_ms = Some(now_ms);
        }
    }

    /// Whether a disturbance with this effect overlaps the time.
    pub(crate) fn explain(&self, site: Site, (from_ms, to_ms): (u64, u64), effect: fn(Effects) -> bool) -> bool {
        self.during(site, from_ms, to_ms).any(|disturbance| effect(disturbance.effects))
    }

    pub(crate) fn during(&self, site: Site, from_ms: u64, to_ms: u64) -> impl Iterator<Item = &Disturbance> {
        self.0.iter().filter(move |disturbance| disturbance.overlaps(site, from_ms, to_ms))
    }
}
