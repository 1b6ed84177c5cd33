//! Environment variables and the daemon's settings.

use std::env;

use lapin::ExchangeKind;

use crate::support::{daemon::DaemonBuilder, fixture::Fixture, proxy::Proxy, queues::Queues};

/// The daemon's `delivery.max_attempts`, high enough that no command is exhausted.
pub(crate) const MAX_ATTEMPTS: u64 = 100;

/// The value of a numeric environment variable.
pub(crate) fn env_number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be an integer, not {text}")))
}

/// A builder of daemons behind both proxies, with short waits.
pub(crate) async fn daemon_builder(fixture: &Fixture, broker: &Proxy, api: &Proxy) -> DaemonBuilder {
    for tier in ["retry.200ms", "retry.500ms", "retry.2s"] {
        fixture.queues.name(tier);
    }
    keep_all_events(&fixture.queues).await;
    let broker_url = fixture.queues.broker().url_at(broker.address());
    fixture
        .builder()
        .set("broker.url", &format!("{broker_url}?heartbeat=2"))
        .set("api.base_url", &format!("http://{}", api.address()))
        .set("api.timeout", "1s")
        .set("delivery.tiers", "200ms,500ms,2s")
        .set("delivery.max_attempts", &MAX_ATTEMPTS.to_string())
        .set("limits.max_in_flight", "64")
}

/// Declares the events queue without a length limit; the daemon keeps an existing queue.
pub(crate) async fn keep_all_events(queues: &Queues) {
    queues.declare("events", ExchangeKind::Topic, "#").await;
}
