//! Environment variables, durations, and the daemons' settings.

use std::{env, future::pending, time::Duration};

use lapin::ExchangeKind;
use tokio::time::timeout;

use crate::support::{daemon::DaemonBuilder, queues::Queues};

/// The daemons' `delivery.max_attempts`: an outage costs no command, so none is exhausted.
pub(crate) const MAX_ATTEMPTS: u64 = 20;

/// The daemons' `api.timeout`.
pub(crate) const API_TIMEOUT: Duration = Duration::from_secs(2);

/// Limit of the time from the end of a fault until everything works at full speed, and from the last fault to the last
/// outcome. After an outage the breaker probes once in 65 s.
pub(crate) const RECOVERY_TIMEOUT: Duration = Duration::from_secs(240);

/// The delay queues: name, and length in ms.
pub(crate) const TIERS: [(&str, i64); 3] = [("200ms", 200), ("500ms", 500), ("2s", 2_000)];

/// The value of a numeric environment variable.
pub(crate) fn env_number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be an integer, not {text}")))
}

/// Settings of all daemons, with short waits.
pub(crate) fn with_settings(builder: DaemonBuilder) -> DaemonBuilder {
    let tiers: Vec<_> = TIERS.iter().map(|(name, _)| *name).collect();
    builder
        .set("api.token", "t")
        .set("api.timeout", &format!("{}ms", API_TIMEOUT.as_millis()))
        .set("delivery.tiers", &tiers.join(","))
        .set("delivery.max_attempts", &MAX_ATTEMPTS.to_string())
        .set("delivery.missing_id", "generate")
        .set("limits.max_in_flight", "16")
}

/// Declares the events queue without a length limit; the daemon keeps an existing queue.
pub(crate) async fn keep_all_events(queues: &Queues) {
    queues.declare("events", ExchangeKind::Topic, "#").await;
}

/// Lets this time pass.
pub(crate) async fn elapse(time: Duration) {
    drop(timeout(time, pending::<()>()).await);
}
