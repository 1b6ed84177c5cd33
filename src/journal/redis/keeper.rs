//! Keeps the connection and the lease, finds out when it can be asked again, and withdraws the starts that are in doubt.

use std::{collections::BTreeSet, convert::Infallible, future::Future};

use futures_util::future::join_all;
use redis::{RedisError, RedisResult, cmd};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::{
    Shared,
    connection::Connection,
    problem::Problem,
    script::{HOLD, WITHDRAW},
    server::Server,
    url::Kind,
};
use crate::journal::Notice;

impl Shared {
    /// For ever: connects, keeps the lease while that works, and tries again once a second when it does not.
    pub(super) async fn keep(&self) -> Infallible {
        let mut told = BTreeSet::new();
        let mut turns = interval(self.tuning.probe);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            if let Err(problem) = self.serve(&mut told).await {
                self.link.refused(&problem);
            }
        }
    }

    /// `Ok` when a caller found the connection broken and has told so.
    async fn serve(&self, told: &mut BTreeSet<&'static str>) -> Result<(), Problem> {
        let opening = Connection::open(&self.url, self.tuning.deadline);
        let mut connection = timeout(self.tuning.connect, opening).await.map_err(|_| self.slow(self.tuning.connect))?;
        let connection = connection.as_mut().map_err(|error| self.problem(error))?;
        self.look_at_server(connection, told).await?;
        if let Some(tag) = self.link.failed_tag() {
            self.hold(connection, &self.probe_key(&tag)).await?;
        }
        self.renew(connection).await?;
        self.link.opened(connection.clone(), self.tuning.grace);
        loop {
            self.check_completeness(connection).await?;
            self.withdraw(connection).await?;
            tokio::select! {
                () = self.link.lost() => return Ok(()),
                () = sleep(self.tuning.lease / 3) => self.renew(connection).await?,
            }
        }
    }

    async fn renew(&self, connection: &mut Connection) -> Result<(), Problem> {
        // It lasts from a moment after this one.
        let sent = Instant::now();
        self.hold(connection, &self.owner_key(self.owner.as_bytes())).await?;
        self.link.renewed(sent + self.tuning.lease.saturating_sub(self.tuning.margin));
        Ok(())
    }

    async fn hold(&self, connection: &mut Connection, key: &str) -> Result<(), Problem> {
        let lease_ms = self.tuning.lease.as_millis().to_string();
        let args = [self.owner.as_bytes(), lease_ms.as_bytes()];
        self.within(HOLD.run(connection, key, &args)).await.map(drop)
    }

    /// Takes back what callers did not wait for or got no answer to.
    async fn withdraw(&self, connection: &Connection) -> Result<(), Problem> {
        let withdrawals = self.held.take_doubtful().into_iter().map(async |(key, number)| {
            let (mut connection, text) = (connection.clone(), number.to_string());
            let late_ms = self.tuning.late.as_millis().to_string();
            let args = [self.owner.as_bytes(), text.as_bytes(), late_ms.as_bytes()];
            let result = self.within(WITHDRAW.run(&mut connection, &self.record_key(&key), &args)).await;
            result.map(drop).inspect_err(|_| self.held.doubt(key, number))
        });
        join_all(withdrawals).await.into_iter().collect()
    }

    // --- Whether it knows everything ---

    /// A server that is not the one that was there before may have lost the last writes, or all.
    async fn look_at_server(
        &self,
        connection: &mut Connection,
        told: &mut BTreeSet<&'static str>,
    ) -> Result<(), Problem> {
        if matches!(self.url.kind, Kind::Cluster) {
            return Ok(());
        }
        let info: String = self.within(connection.query(&cmd("INFO"))).await?;
        let server = Server::read(&info);
        for why in server.weaknesses {
            if told.insert(why) {
                self.link.tell(Notice::Weakened { why });
            }
        }
        let server_key = self.key("server");
        let known: Option<String> = self.within(connection.query(cmd("GET").arg(&server_key))).await?;
        if known.as_ref() != Some(&server.run_id) {
            let doubt_ms = u64::try_from(self.tuning.doubt.as_millis()).unwrap_or(u64::MAX);
            let doubt = cmd("SET").arg(self.key("doubt")).arg(1).arg("PX").arg(doubt_ms).take();
            let _: () = self.within(connection.query(&doubt)).await?;
            let _: () = self.within(connection.query(cmd("SET").arg(&server_key).arg(&server.run_id))).await?;
        }
        Ok(())
    }

    async fn check_completeness(&self, connection: &mut Connection) -> Result<(), Problem> {
        let doubtful: bool = self.within(connection.query(cmd("EXISTS").arg(self.key("doubt")))).await?;
        self.link.completeness(!doubtful && !matches!(self.url.kind, Kind::Cluster));
        Ok(())
    }

    // --- Deadlines ---

    pub(super) async fn within<T>(&self, call: impl Future<Output = RedisResult<T>>) -> Result<T, Problem> {
        match timeout(self.tuning.deadline, call).await {
            Ok(result) => result.map_err(|error| self.problem(&error)),
            Err(_) => Err(self.slow(self.tuning.deadline)),
        }
    }

    fn slow(&self, after: std::time::Duration) -> Problem {
        Problem::Slow { at: self.url.to_string(), after }
    }

    fn problem(&self, error: &RedisError) -> Problem {
        if error.is_timeout() {
            return self.slow(self.tuning.deadline);
        }
        Problem::of(error, self.url.to_string())
    }
}
