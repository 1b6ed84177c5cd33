//! The settings of the Redis journal, and the timings that only tests change.

use std::time::Duration;

use super::url::RedisUrl;

/// The user's settings of the Redis journal.
#[derive(Clone, Debug)]
pub struct RedisJournalSettings {
    /// The address.
    pub url: RedisUrl,
    /// The prefix of every key: `broker.prefix`.
    pub prefix: String,
    /// The time to live of records.
    pub retention: Duration,
}

/// With a short retention, too, the broker must have the time to redeliver what a lost store had on record.
const MIN_DOUBT: Duration = Duration::from_hours(1);

/// Durations that tests replace.
#[derive(Clone, Copy, Debug)]
pub(super) struct RedisTimings {
    /// The time to live of the owner's lease.
    pub(super) lease: Duration,
    /// The part of the lease that must be left when an attempt starts.
    pub(super) margin: Duration,
    /// The time after connecting during which no attempt is taken over.
    pub(super) takeover_delay: Duration,
    /// The timeout of a call.
    pub(super) call_timeout: Duration,
    /// The timeout of connecting, including Sentinels and all nodes of a Cluster.
    pub(super) connect_timeout: Duration,
    /// The interval of attempts to connect.
    pub(super) reconnect_interval: Duration,
    /// The time for which a withdrawn start is rejected if Redis executes it late.
    pub(super) withdrawal_ttl: Duration,
    /// The time for which the journal is incomplete after a different server was found: as long as records are kept.
    pub(super) doubt: Duration,
}

impl RedisTimings {
    pub(super) fn for_retention(retention: Duration) -> Self {
        Self { doubt: retention.max(MIN_DOUBT), ..Self::default() }
    }
}

impl Default for RedisTimings {
    fn default() -> Self {
        let lease = Duration::from_secs(15);
        Self {
            lease,
            margin: lease / 3,
            takeover_delay: lease,
            call_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(5),
            reconnect_interval: Duration::from_secs(1),
            withdrawal_ttl: Duration::from_mins(10),
            doubt: MIN_DOUBT,
        }
    }
}
