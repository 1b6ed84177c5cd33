//! The contract, on one server and on a Cluster.

use super::{
    deployments::shared_cluster,
    fixture::{TestOwner, fast_timings, prefix, shared_redis},
};
use crate::journal::{
    redis::RedisJournal,
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
        let owner = TestOwner::start(&self.url, &self.prefix, fast_timings()).await;
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
