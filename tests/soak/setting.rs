//! What a run is told by the environment, and how its daemon is set up.

use std::env;

use lapin::ExchangeKind;

use crate::support::{daemon::Setup, proxy::Proxy, queues::Queues, stage::Stage};

/// Attempts at a command; more than any weather asks for, so that none is exhausted.
pub(crate) const MAX_ATTEMPTS: u64 = 100;

/// A number that an environment variable holds.
pub(crate) fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a whole number, not {text}")))
}

/// A daemon behind both proxies, with short waits.
pub(crate) async fn up(stage: &Stage, links: &Proxy, api: &Proxy) -> Setup {
    for tier in ["retry.200ms", "retry.500ms", "retry.2s"] {
        stage.queues.name(tier);
    }
    keep_every_event(&stage.queues).await;
    let broker = stage.queues.broker().url_at(links.address());
    stage
        .setup()
        .set("broker.url", &format!("{broker}?heartbeat=2"))
        .set("api.base_url", &format!("http://{}", api.address()))
        .set("api.timeout", "1s")
        .set("delivery.tiers", "200ms,500ms,2s")
        .set("delivery.max_attempts", &MAX_ATTEMPTS.to_string())
        .set("limits.max_in_flight", "64")
}

/// The daemon's own events queue would keep the newest only. What is there already it leaves as it is.
pub(crate) async fn keep_every_event(queues: &Queues) {
    queues.declare("events", ExchangeKind::Topic, "#").await;
}
