//! The Redis journal keeps the contract, alone and in a Cluster, and holds what it says under faults.

mod faults;
mod owners;
mod places;
mod refusals;
#[path = "../../../../tests/it/support/redis.rs"]
mod server;

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

use self::server::Redis;
use super::{RedisJournal, RedisJournalSettings, RedisUrl, Tuning, parse};
use crate::journal::{
    Notice,
    tests::contract::{Lab, contract},
};

const SOON: Duration = Duration::from_secs(20);
const RETENTION: Duration = Duration::from_hours(72);

/// Quick to notice, and nobody waits before taking over.
fn quick() -> Tuning {
    Tuning {
        grace: Duration::ZERO,
        deadline: Duration::from_secs(1),
        probe: Duration::from_millis(50),
        ..Tuning::default()
    }
}

/// Renews often, and is not in doubt for long.
fn restless() -> Tuning {
    let lease = Duration::from_millis(600);
    Tuning { lease, margin: lease / 3, doubt: Duration::from_millis(300), ..quick() }
}

/// Waits until it holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut turns = interval(Duration::from_millis(5));
    // Else what blocks for longer than a turn would leave no time for anything else.
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let search = async {
        while !holds().await {
            turns.tick().await;
        }
    };
    assert!(timeout(SOON, search).await.is_ok(), "waited for {what}");
}

/// A journal whose keeper can be killed, and what it told.
struct Owner {
    journal: RedisJournal,
    keeper: JoinHandle<()>,
    told: Arc<Mutex<Vec<String>>>,
}

impl Owner {
    /// Not connected yet.
    fn spawn(url: RedisUrl, prefix: &str, tuning: Tuning) -> Self {
        let told = Arc::new(Mutex::default());
        let telling = Arc::clone(&told);
        let tell = move |notice: Notice<'_>| {
            let line = match notice {
                Notice::Unavailable { why } | Notice::Weakened { why } => why.to_owned(),
                Notice::Available => "available".to_owned(),
                _ => return,
            };
            let lines: &Mutex<Vec<String>> = &telling;
            lines.lock().expect("no panic").push(line);
        };
        let journal = RedisJournal::with(
            RedisJournalSettings { url, prefix: prefix.to_owned(), retention: RETENTION },
            tuning,
            tell,
        );
        let keeper = tokio::spawn(journal.clone().run());
        Self { journal, keeper, told }
    }

    async fn start(url: &str, prefix: &str, tuning: Tuning) -> Self {
        let owner = Self::spawn(parse(url).expect("a URL"), prefix, tuning);
        owner.ready().await;
        owner
    }

    async fn ready(&self) {
        until("a connection", async || self.journal.shared.link.ready().is_ok()).await;
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().expect("no panic").clone()
    }

    async fn is_told(&self, words: &str) {
        until(words, async || self.told().iter().any(|line| line.contains(words))).await;
    }

    /// Its keeper is gone, as if by `kill -9`; its lease runs on.
    fn kill(self) -> RedisJournal {
        self.keeper.abort();
        self.journal
    }

    /// The same, and its lease is over.
    async fn die(self) -> RedisJournal {
        let journal = self.kill();
        end_lease(&journal).await;
        journal
    }
}

async fn end_lease(journal: &RedisJournal) {
    let key = journal.shared.owner_key(journal.shared.owner.as_bytes());
    let mut ready = journal.shared.link.ready().expect("available");
    let _: () = ready.connection.query(cmd("DEL").arg(key)).await.expect("available");
}

/// A prefix that no other test has.
fn prefix() -> String {
    Uuid::new_v4().simple().to_string()
}

/// One for all tests that do it no harm.
fn shared_redis() -> &'static Redis {
    static REDIS: OnceLock<Redis> = OnceLock::new();
    REDIS.get_or_init(Redis::start)
}

/// Owners of one prefix, one after the other.
struct Owners {
    url: String,
    prefix: String,
    present: Option<Owner>,
}

impl Owners {
    fn of(url: String) -> Self {
        Self { url, prefix: prefix(), present: None }
    }

    async fn next(&mut self) -> RedisJournal {
        let owner = Owner::start(&self.url, &self.prefix, quick()).await;
        self.present.insert(owner).journal.clone()
    }
}

impl Lab for Owners {
    type Journal = RedisJournal;

    async fn first(&mut self) -> RedisJournal {
        self.next().await
    }

    async fn crash(&mut self, _: RedisJournal) -> RedisJournal {
        if let Some(owner) = self.present.take() {
            owner.die().await;
        }
        self.next().await
    }
}

mod alone {
    use super::*;

    contract!(Owners::of(shared_redis().url()));
}

mod in_a_cluster {
    use super::*;

    contract!(Owners::of(places::shared_cluster().url()));
}
