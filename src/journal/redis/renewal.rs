//! The background task of a Redis journal: connects, renews the lease, withdraws unconfirmed starts, and checks whether
//! the server may have lost records.

use std::{collections::BTreeSet, convert::Infallible};

use futures_util::future::join_all;
use redis::cmd;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::{
    connection::RedisConnection,
    error::RedisCallError,
    script::{WITHDRAW_START, WRITE_LEASE},
    server_info::ServerInfo,
    state::RedisJournalState,
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
        self.check_server(&mut connection, reported_weaknesses).await?;
        if let Some(tag) = self.lease.failed_tag() {
            self.write_lease(&mut connection, &self.probe_key(&tag)).await?;
        }
        self.renew_lease(&mut connection).await?;
        self.lease.set_connected(connection.clone(), self.timings.takeover_delay);
        loop {
            self.check_completeness(&mut connection).await?;
            self.withdraw_unconfirmed(&connection).await?;
            tokio::select! {
                () = self.lease.connection_lost() => return Ok(()),
                () = sleep(self.timings.lease / 3) => self.renew_lease(&mut connection).await?,
            }
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
        self.with_timeout(WRITE_LEASE.run(connection, key, &args)).await.map(drop)
    }

    /// Withdraws the starts whose replies were lost or whose callers were cancelled.
    async fn withdraw_unconfirmed(&self, connection: &RedisConnection) -> Result<(), RedisCallError> {
        let withdrawals = self.attempts.take_unconfirmed().into_iter().map(async |(key, number)| {
            let (mut connection, number_text) = (connection.clone(), number.to_string());
            let ttl_ms = self.timings.withdrawal_ttl.as_millis().to_string();
            let args = [self.owner.as_bytes(), number_text.as_bytes(), ttl_ms.as_bytes()];
            let result = self.with_timeout(WITHDRAW_START.run(&mut connection, &self.record_key(&key), &args)).await;
            result.map(drop).inspect_err(|_| self.attempts.add_unconfirmed(key, number))
        });
        join_all(withdrawals).await.into_iter().collect()
    }

    // --- Completeness ---

    /// Starts the period of doubt if the server is not the one of last time, as it may have lost the last writes or
    /// all.
    async fn check_server(
        &self,
        connection: &mut RedisConnection,
        reported_weaknesses: &mut BTreeSet<&'static str>,
    ) -> Result<(), RedisCallError> {
        if self.url.is_cluster() {
            return Ok(());
        }
        let info: String = self.with_timeout(connection.query(&cmd("INFO"))).await?;
        let server = ServerInfo::parse(&info);
        for problem in server.weaknesses {
            if reported_weaknesses.insert(problem) {
                self.lease.emit(JournalEvent::Degraded { problem });
            }
        }
        let server_key = self.key("server");
        let known: Option<String> = self.with_timeout(connection.query(cmd("GET").arg(&server_key))).await?;
        if known.as_ref() != Some(&server.run_id) {
            let doubt_ms = u64::try_from(self.timings.doubt.as_millis()).unwrap_or(u64::MAX);
            let doubt = cmd("SET").arg(self.key("doubt")).arg(1).arg("PX").arg(doubt_ms).take();
            let _: () = self.with_timeout(connection.query(&doubt)).await?;
            let _: () = self.with_timeout(connection.query(cmd("SET").arg(&server_key).arg(&server.run_id))).await?;
        }
        Ok(())
    }

    async fn check_completeness(&self, connection: &mut RedisConnection) -> Result<(), RedisCallError> {
        let in_doubt: bool = self.with_timeout(connection.query(cmd("EXISTS").arg(self.key("doubt")))).await?;
        self.lease.set_complete(!in_doubt && !self.url.is_cluster());
        Ok(())
    }
}
