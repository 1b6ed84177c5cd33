//! The journal for several daemons on one queue, in one Redis (or Valkey, from 6.2) that they share.
//!
//! | key | content |
//! |---|---|
//! | `<prefix>:journal:{<replay>:<command id>}` | the record of a send: a hash that expires with the retention |
//! | `<prefix>:journal:owner:<id>` | an owner's lease: 15 s, renewed every 5 s |
//! | `<prefix>:journal:server` | the mark of the store: the run id of the Redis that was used last, and a random text |
//! | `<prefix>:journal:doubt` | the cause; exists for the retention, at least 1 h, after no mark or that of another Redis was found |
//! | `<prefix>:journal:probe:{<tag>}` | written to check whether the server of a record accepts writes again |
//!
//! `<prefix>` is `broker.prefix`: daemons on one queue share it, others do not. Every transition is one script on one
//! record. A process is an owner with a random id. An owner that finds an attempt of another one reads the other's lease,
//! and takes the attempt over only without one. The script of the takeover checks that the start is still the same, so
//! of several owners that try, one succeeds.
//!
//! # Guarantees
//!
//! - Of all unaccounted starts of a send, one is granted at a time, and a second one is granted only as
//!   [`Record::Orphaned`]: the pipeline then treats the first as uncertain and reports or parks it.
//! - A start is granted only while the lease has 5 s left by the owner's monotonic clock, counted from before the
//!   renewal was sent. So a pause of less than 5 s between the grant and the POST, or renewals that fail for less, do
//!   no harm. A longer pause (SIGSTOP, a suspended machine) can delay the POST until another owner has taken over; that
//!   owner knew of the attempt and treated the send as uncertain.
//! - The first outcome stays, whichever owner records it; later ones change nothing. `finish_attempt` of an owner whose
//!   attempt was taken over does not end the other's attempt.
//! - A start whose reply is lost is withdrawn as soon as Redis answers. If Redis executes it only afterwards, it is
//!   rejected, as starts are numbered. `finish_attempt` and `record_outcome` are idempotent.
//! - Leases and retention use Redis's clock, everything else the monotonic clock; the two are never compared. If
//!   Redis's clock jumps forward, live owners look gone for up to 5 s and their attempts become uncertain; if it jumps
//!   backward, orphaned attempts wait longer.
//! - For one lease after connecting no attempt is taken over: after a pause of Redis the others need that time to
//!   renew. After a crash, commands wait for that long in the shortest tier.
//! - A script that a server does not have, as after its restart, is sent again.
//!
//! # Limits
//!
//! Durability is that of Redis: `appendonly yes` loses up to a second of writes when its machine fails,
//! `appendfsync always` none; a failover loses what the replica did not have. `WAIT` is not used: it costs a round trip
//! to the replicas and does not make the failover choose the right one. `min-replicas-to-write 1` bounds the time of a
//! master without replicas.
//!
//! Losses are detected by the mark, in every round and at every start of a send without a record: if the store was
//! emptied, or the server is not the one of last time (a restart, a failover), the journal is
//! [not complete](Journal::is_complete) for the retention, at least an hour, so redelivered commands without a record count
//! as uncertain and their events say so. In a Cluster this cannot be detected, so there the journal is never complete. A
//! command that is published again after its outcome was lost is sent again.

mod attempts;
mod connection;
mod error;
mod lease_state;
mod renewal;
mod reply;
mod script;
mod server_info;
mod settings;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod url;

use std::{fmt, sync::Arc};

use redis::cmd;

use self::{
    reply::{LookupResult, StartResult},
    script::{
        FINISH_ATTEMPT, LOOKUP, RECORD_DOUBT, RECORD_LETTER_STORED, RECORD_OUTCOME, RECORD_PUBLISHED, RECORD_UNPOSTED,
    },
    settings::RedisTimings,
    state::RedisJournalState,
};
pub use self::{settings::RedisJournalSettings, url::RedisUrl};
use super::event::JournalEvent;
use crate::{
    domain::journal::{AttemptHistory, Record, RecordedOutcome, SendKey},
    ports::{Journal, JournalResult},
};

/// The journal in a shared Redis; clones share the connection and are one owner.
#[derive(Clone)]
pub struct RedisJournal {
    state: Arc<RedisJournalState>,
}

impl fmt::Debug for RedisJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisJournal").field("url", &self.state.url).finish_non_exhaustive()
    }
}

impl RedisJournal {
    /// Creates a new owner. It connects in [`Self::run`]; every call before fails. `listener` must not block and must
    /// not call the journal.
    #[must_use]
    pub fn new(settings: RedisJournalSettings, listener: impl Fn(JournalEvent<'_>) + Send + Sync + 'static) -> Self {
        let timings = RedisTimings::for_retention(settings.retention);
        Self::with_timings(settings, timings, listener)
    }

    fn with_timings(
        settings: RedisJournalSettings,
        timings: RedisTimings,
        listener: impl Fn(JournalEvent<'_>) + Send + Sync + 'static,
    ) -> Self {
        Self { state: Arc::new(RedisJournalState::new(settings, timings, Box::new(listener))) }
    }

    /// Renews the lease in the background and reconnects, until [`Self::close`]. Must run in exactly one task.
    pub async fn run(self) {
        tokio::select! {
            () = self.state.stop.cancelled() => {}
            never = self.state.renew_forever() => match never {},
        }
    }

    /// Deletes the lease, so that other owners need not wait for its end. Later calls fail.
    pub async fn close(&self) {
        self.state.stop.cancel();
        if let Some(mut connection) = self.state.lease.close() {
            let key = self.state.owner_key(self.state.owner.as_bytes());
            // If this fails, the lease expires by itself.
            let _ = self.state.with_timeout(connection.query::<()>(cmd("DEL").arg(key))).await;
        }
    }
}

impl Journal for RedisJournal {
    async fn lookup(&self, key: &SendKey) -> JournalResult<Record> {
        let state = &*self.state;
        let mut ready = state.lease.connection()?;
        let reply = state.run_script(&mut ready, &LOOKUP, key, &[]).await?;
        let (start, before) = match LookupResult::parse(reply).ok_or_else(|| state.unreadable_record())? {
            LookupResult::Idle(record) => return Ok(record),
            LookupResult::Started(start, before) => (start, before),
        };
        if start.owner == state.owner.as_bytes() {
            // Without an attempt in progress the reply to the start was lost, and the start will be withdrawn.
            return Ok(if state.attempts.start_number(key).is_some() { Record::InProgress } else { before });
        }
        let is_alive = state.is_owner_alive(&mut ready, &start.owner).await?;
        Ok(if is_alive { Record::InProgress } else { Record::Orphaned { counted: start.counted } })
    }

    async fn start_attempt(&self, key: &SendKey) -> JournalResult<Record> {
        let state = &*self.state;
        let mut ready = state.lease.connection()?;
        state.lease.check_lease()?;
        let Some(claim) = state.attempts.claim(key) else { return Ok(Record::InProgress) };
        match state.start_attempt(&mut ready, key, claim.number()).await? {
            StartResult::Granted(record) => {
                // Again, as this process may have been stopped before it read the reply.
                state.lease.check_lease()?;
                claim.confirm();
                Ok(record)
            }
            StartResult::StoreChanged => {
                claim.release();
                Err(state.lease.report_store_changed())
            }
            StartResult::HeldBy(_) => {
                claim.release();
                Ok(Record::InProgress)
            }
            StartResult::Finished(outcome) => {
                claim.release();
                Ok(Record::Finished(outcome))
            }
        }
    }

    async fn finish_attempt(&self, key: &SendKey, history: AttemptHistory) -> JournalResult<()> {
        let state = &*self.state;
        let number = state.attempts.start_number(key).unwrap_or_default().to_string();
        let (retention_ms, counted) = (state.retention_ms.as_bytes(), history.counted.to_string());
        let args =
            [state.owner.as_bytes(), number.as_bytes(), retention_ms, flag(history.uncertain), counted.as_bytes()];
        state.write(&mut state.lease.connection()?, &FINISH_ATTEMPT, key, &args).await?;
        state.attempts.remove(key);
        Ok(())
    }

    async fn record_outcome(&self, key: &SendKey, outcome: RecordedOutcome) -> JournalResult<()> {
        let state = &*self.state;
        let args = [&*outcome.event, flag(outcome.letter_pending), state.retention_ms.as_bytes()];
        state.write(&mut state.lease.connection()?, &RECORD_OUTCOME, key, &args).await?;
        state.attempts.remove(key);
        Ok(())
    }

    async fn record_unposted(&self, key: &SendKey, history: AttemptHistory) -> JournalResult<()> {
        let state = &*self.state;
        let counted = history.counted.to_string();
        let args = [state.retention_ms.as_bytes(), flag(history.uncertain), counted.as_bytes()];
        state.write(&mut state.lease.connection()?, &RECORD_UNPOSTED, key, &args).await.map(drop)
    }

    async fn record_letter_stored(&self, key: &SendKey) -> JournalResult<()> {
        let state = &*self.state;
        state.write(&mut state.lease.connection()?, &RECORD_LETTER_STORED, key, &[]).await.map(drop)
    }

    async fn record_published(&self, key: &SendKey) -> JournalResult<()> {
        let state = &*self.state;
        state.write(&mut state.lease.connection()?, &RECORD_PUBLISHED, key, &[]).await.map(drop)
    }

    async fn record_doubt(&self, key: &SendKey) -> JournalResult<()> {
        let state = &*self.state;
        let args = [state.retention_ms.as_bytes()];
        state.write(&mut state.lease.connection()?, &RECORD_DOUBT, key, &args).await.map(drop)
    }

    fn is_complete(&self) -> bool {
        self.state.lease.is_complete()
    }

    fn has_newest_records(&self) -> bool {
        self.state.lease.has_newest_records()
    }
}

const fn flag(value: bool) -> &'static [u8] {
    if value { b"1" } else { b"0" }
}
