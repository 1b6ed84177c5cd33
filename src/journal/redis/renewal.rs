//! The background task of a Redis journal: connects, renews the lease, withdraws unconfirmed starts, and checks whether
//! the store may have lost records.

use std::{collections::BTreeSet, convert::Infallible};

use futures_util::future::join_all;
use redis::cmd;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use uuid::Uuid;

use super::{
    connection::RedisConnection,
    error::RedisCallError,
    script::{CHECK_STORE, WITHDRAW_START, WRITE_LEASE},
    server_info::ServerInfo,
    state::RedisJournalState,
    store::CheckedStore,
};
use crate::journal::event::JournalEvent;

impl RedisJournalState {
    /// Connects and renews the lease; reconnects at an interval after a failure.
    pub(super) async fn renew_forever(&self) -> Infallible {
        let mut reported_weaknesses = BTreeSet::new();
        let mut reconnects = interval(self.timings.reconnect_interval);
        reconnects.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            reconnects.tick().await;
            if let Err(error) = self.renew_while_connected(&mut reported_weaknesses).await {
                self.lease.fail_renewal(&error);
            }
        }
    }

    /// Returns `Ok` after a failed call, which has been reported.
    async fn renew_while_connected(
        &self,
        reported_weaknesses: &mut BTreeSet<&'static str>,
    ) -> Result<(), RedisCallError> {
        let mut connection = self.connect().await?;
        let run_id = self.read_server_info(&mut connection, reported_weaknesses).await?;
        self.check_store(&mut connection, &run_id).await?;
        if let Some(tag) = self.lease.failed_tag() {
            self.write_lease(&mut connection, &self.probe_key(&tag)).await?;
        }
        self.renew_lease(&mut connection).await?;
        self.lease.set_connected(connection.clone(), self.timings.takeover_delay);
        loop {
            self.withdraw_unconfirmed(&connection).await?;
            tokio::select! {
                () = self.lease.connection_lost() => return Ok(()),
                () = self.lease.store_changed() => {}
                () = sleep(self.timings.lease / 3) => {}
            }
            self.check_store(&mut connection, &run_id).await?;
            self.renew_lease(&mut connection).await?;
        }
    }

    async fn connect(&self) -> Result<RedisConnection, RedisCallError> {
        let connect_timeout = self.timings.connect_timeout;
        let opening = RedisConnection::open(&self.url, self.timings.call_timeout);
        let opened = timeout(connect_timeout, opening).await.map_err(|_| self.timed_out(connect_timeout))?;
        opened.map_err(|error| self.call_error(&error))
    }

    async fn renew_lease(&self, connection: &mut RedisConnection) -> Result<(), RedisCallError> {
        // The lease begins in Redis no earlier than this.
        let sent = Instant::now();
        self.write_lease(connection, &self.owner_key(self.owner.as_bytes())).await?;
        self.lease.set_lease_until(sent + self.timings.lease.saturating_sub(self.timings.margin));
        Ok(())
    }

    async fn write_lease(&self, connection: &mut RedisConnection, key: &str) -> Result<(), RedisCallError> {
        let lease_ms = self.timings.lease.as_millis().to_string();
        let args = [self.owner.as_bytes(), lease_ms.as_bytes()];
        self.with_timeout(WRITE_LEASE.run(connection, &[key], &args)).await.map(drop)
    }

    /// Withdraws the starts whose replies were lost or whose callers were cancelled.
    async fn withdraw_unconfirmed(&self, connection: &RedisConnection) -> Result<(), RedisCallError> {
        let withdrawals = self.attempts.take_unconfirmed().into_iter().map(async |(key, number)| {
            let (mut connection, number_text) = (connection.clone(), number.to_string());
            let ttl_ms = self.timings.withdrawal_ttl.as_millis().to_string();
            let args = [self.owner.as_bytes(), number_text.as_bytes(), ttl_ms.as_bytes()];
            let record = self.record_key(&key);
            let result = self.with_timeout(WITHDRAW_START.run(&mut connection, &[&record], &args)).await;
            result.map(drop).inspect_err(|_| self.attempts.add_unconfirmed(key, number))
        });
        join_all(withdrawals).await.into_iter().collect()
    }

    // --- The store ---

    /// Returns the server's run id, empty in a Cluster, and reports the settings that weaken the journal.
    async fn read_server_info(
        &self,
        connection: &mut RedisConnection,
        reported_weaknesses: &mut BTreeSet<&'static str>,
    ) -> Result<String, RedisCallError> {
        if self.url.is_cluster() {
            return Ok(String::new());
        }
        let info: String = self.with_timeout(connection.query(&cmd("INFO"))).await?;
        let server = ServerInfo::parse(&info);
        for problem in server.weaknesses {
            if reported_weaknesses.insert(problem) {
                self.lease.emit(JournalEvent::Degraded { problem });
            }
        }
        Ok(server.run_id)
    }

    /// Compares the store's mark with the server, which may begin a period of doubt.
    async fn check_store(&self, connection: &mut RedisConnection, run_id: &str) -> Result<(), RedisCallError> {
        if self.url.is_cluster() {
            self.lease.set_store(CheckedStore::cluster());
            return Ok(());
        }
        let (mark, doubt) = (self.mark_key(), self.key("doubt"));
        let (random, doubt_ms) = (Uuid::new_v4().simple().to_string(), self.timings.doubt.as_millis().to_string());
        let args = [run_id.as_bytes(), random.as_bytes(), doubt_ms.as_bytes()];
        let reply = self.with_timeout(CHECK_STORE.run(connection, &[&mark, &doubt], &args)).await?;
        let unreadable = || RedisCallError::UnreadableRecord { hosts: self.url.to_string() };
        self.lease.set_store(CheckedStore::parse(reply).ok_or_else(unreadable)?);
        Ok(())
    }
}
