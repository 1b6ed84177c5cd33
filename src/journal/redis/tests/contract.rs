//! The contract, on one server and on a Cluster.

use std::time::Duration;

use super::{
    deployments::shared_cluster,
    fixture::{TestOwner, fast_timings, prefix, shared_redis},
};
use crate::journal::{
    redis::{RedisJournal, settings::RedisTimings},
    tests::contract::{JournalFixture, contract_tests},
};

/// Owners of one prefix, one after the other.
struct RedisJournalOwners {
    url: String,
    prefix: String,
    current: Option<TestOwner>,
}

impl RedisJournalOwners {
    fn new(url: String) -> Self {
        Self { url, prefix: prefix(), current: None }
    }

    async fn start_next(&mut self) -> RedisJournal {
        // The contract is about records: 1,500 calls at once on a busy machine may take seconds.
        let timings = RedisTimings { call_timeout: Duration::from_secs(10), ..fast_timings() };
        let owner = TestOwner::start(&self.url, &self.prefix, timings).await;
        self.current.insert(owner).journal.clone()
    }
}

impl JournalFixture for RedisJournalOwners {
    type Journal = RedisJournal;

    async fn open(&mut self) -> RedisJournal {
        self.start_next().await
    }

    async fn crash(&mut self, _: RedisJournal) -> RedisJournal {
        if let Some(owner) = self.current.take() {
            owner.kill_and_expire().await;
        }
        self.start_next().await
    }
}

mod single_server {
    use super::*;

    contract_tests!(RedisJournalOwners::new(shared_redis().url()));
}

mod cluster {
    use super::*;

    contract_tests!(RedisJournalOwners::new(shared_cluster().url()));
}
