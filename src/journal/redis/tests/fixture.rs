//! Owners with short timings and recorded events, and a Redis that tests share.

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use redis::cmd;
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};
use uuid::Uuid;

use super::server::Redis;
use crate::{
    journal::{
        JournalEvent,
        redis::{RedisJournal, RedisJournalSettings, RedisUrl, settings::RedisTimings},
    },
    sync::lock,
};

pub(super) const TIMEOUT: Duration = Duration::from_secs(20);
pub(super) const RETENTION: Duration = Duration::from_hours(72);

/// Short timeouts, and no delay before a takeover.
pub(super) fn fast_timings() -> RedisTimings {
    RedisTimings {
        takeover_delay: Duration::ZERO,
        call_timeout: Duration::from_secs(1),
        reconnect_interval: Duration::from_millis(50),
        ..RedisTimings::default()
    }
}

/// Like [`fast_timings`], with a short lease and a short period of doubt.
pub(super) fn short_lease_timings() -> RedisTimings {
    let lease = Duration::from_millis(600);
    RedisTimings { lease, margin: lease / 3, doubt: Duration::from_millis(300), ..fast_timings() }
}

/// Polls the condition until it holds.
pub(super) async fn wait_until(condition: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut polls = interval(Duration::from_millis(5));
    // A condition may block for longer than the interval and must not be polled in a burst afterwards.
    polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let search = async {
        while !holds().await {
            polls.tick().await;
        }
    };
    assert!(timeout(TIMEOUT, search).await.is_ok(), "timed out: {condition}");
}

/// A journal whose renewal task can be killed, and its events.
pub(super) struct TestOwner {
    pub(super) journal: RedisJournal,
    renewal: JoinHandle<()>,
    events: Arc<Mutex<Vec<String>>>,
}

impl TestOwner {
    /// Starts an owner that may not be connected yet.
    pub(super) fn spawn(url: RedisUrl, prefix: &str, timings: RedisTimings) -> Self {
        let events = Arc::<Mutex<Vec<String>>>::default();
        let recorded = Arc::clone(&events);
        let listener = move |event: JournalEvent<'_>| {
            let text = match event {
                JournalEvent::Unavailable { reason: text }
                | JournalEvent::Degraded { problem: text }
                | JournalEvent::InDoubt { reason: text } => text,
                JournalEvent::DoubtEnded => "complete",
                JournalEvent::Available => "available",
                _ => return,
            };
            lock(&recorded).push(text.to_owned());
        };
        let settings = RedisJournalSettings { url, prefix: prefix.to_owned(), retention: RETENTION };
        let journal = RedisJournal::with_timings(settings, timings, listener);
        let renewal = tokio::spawn(journal.clone().run());
        Self { journal, renewal, events }
    }

    /// Starts an owner and waits for its connection.
    pub(super) async fn start(url: &str, prefix: &str, timings: RedisTimings) -> Self {
        let owner = Self::spawn(redis_url(url), prefix, timings);
        owner.wait_until_connected().await;
        owner
    }

    pub(super) async fn wait_until_connected(&self) {
        wait_until("a connection", async || self.journal.state.lease.connection().is_ok()).await;
    }

    pub(super) fn events(&self) -> Vec<String> {
        lock(&self.events).clone()
    }

    pub(super) async fn wait_for_event(&self, words: &str) {
        wait_until(words, async || self.events().iter().any(|event| event.contains(words))).await;
    }

    /// Ends the renewal task, as `kill -9` does; the lease has yet to expire.
    pub(super) fn kill(self) -> RedisJournal {
        self.renewal.abort();
        self.journal
    }

    /// Ends the renewal task and expires the lease.
    pub(super) async fn kill_and_expire(self) {
        expire_lease(&self.kill()).await;
    }
}

pub(super) async fn expire_lease(journal: &RedisJournal) {
    let key = journal.state.owner_key(journal.state.owner.as_bytes());
    let mut ready = journal.state.lease.connection().expect("available");
    let _: () = ready.connection.query(cmd("DEL").arg(key)).await.expect("available");
}

pub(super) fn redis_url(text: &str) -> RedisUrl {
    text.parse().expect("a URL")
}

/// A unique key prefix.
pub(super) fn prefix() -> String {
    Uuid::new_v4().simple().to_string()
}

/// The server for all tests that do not disturb it.
pub(super) fn shared_redis() -> &'static Redis {
    static REDIS: OnceLock<Redis> = OnceLock::new();
    REDIS.get_or_init(Redis::start)
}
