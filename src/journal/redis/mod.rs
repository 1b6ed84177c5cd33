//! The journal for several daemons on one queue: one Redis (or Valkey, from 6.2) that all of them use.
//!
//! | key | what |
//! |---|---|
//! | `<prefix>:journal:{<replay>:<command id>}` | the record of a send: a hash, with the retention as its time to live |
//! | `<prefix>:journal:owner:<id>` | an owner's lease: 15 s, renewed every 5 s |
//! | `<prefix>:journal:server` | the run id of the Redis that was used last |
//! | `<prefix>:journal:doubt` | is there for an hour after another Redis was found there |
//! | `<prefix>:journal:probe:{<tag>}` | written to find out whether the server of a record can be written again |
//!
//! `<prefix>` is `broker.prefix`: daemons on one queue share it, and others don't meet. Every transition is one script on one
//! key. A process is an owner with a random id. One that finds a send started by another asks for the other's lease, and
//! only without one takes the attempt over, by a script that first sees that it is still the same one: of many who try,
//! one succeeds.
//!
//! # What holds
//!
//! - Of all starts of a send that nobody accounted for, one is granted at a time, whoever asks, and a second one is granted only
//!   as [`Record::Orphaned`]: the pipeline then treats the first as uncertain and says so, or parks it.
//! - A start is granted only while our lease has 5 s left by our own monotonic clock, counted from before the renewal was
//!   sent. So a pause of less than 5 s between the grant and the POST, and a renewal that fails for as long, cost nothing.
//!   A longer pause (SIGSTOP, a suspended machine) can make the POST go out after another owner has taken over: that owner
//!   knew of the attempt, so it called the send uncertain.
//! - The first end stays. A late one of an owner that was taken over changes nothing; its release does not free what another
//!   holds.
//! - A call whose answer is lost is not forgotten: a start is withdrawn as soon as Redis answers, and if it is carried out
//!   only afterwards, it comes too late (starts are numbered). Release and end may be carried out twice.
//! - Time is Redis's alone (leases, retention), or our monotonic clock; the two are never compared. When Redis's clock jumps
//!   forward, live owners look gone for up to 5 s and their attempts become uncertain; backward, orphans wait longer.
//! - For one lease after we connected nothing is taken over: after a pause of Redis others need that time to renew. After a
//!   crash, commands wait for that long in the shortest tier.
//! - Scripts that a server does not know, as after its restart, are sent again.
//!
//! # What cannot hold
//!
//! Durable is what Redis calls so: `appendonly yes` loses up to a second of writes when its machine fails, `appendfsync always`
//! none; a failover loses what the replica did not have. `WAIT` is not used: it costs a round trip to the replicas and does not
//! make the failover choose the right one. `min-replicas-to-write 1` bounds how long a master alone goes on.
//! Losses are looked for: when the server is another one than before (a restart, a failover, an empty Redis), the journal is
//! [not complete](Journal::is_complete) for an hour, so what the broker delivers again and is not on record may have been sent,
//! and the event says so. In a Cluster that cannot be seen, so there the journal never calls itself complete.
//! What no record can know: a command that is published again, after its end was lost, is sent again.

mod connection;
mod held;
mod keeper;
mod link;
mod problem;
mod reply;
mod script;
mod server;
#[cfg(test)]
mod tests;
mod url;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use redis::cmd;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::url::{RedisUrl, parse};
use self::{
    held::Held,
    link::{Link, Ready},
    problem::Problem,
    reply::{Attempt, Looked, Started},
    script::{END, LETTER_STORED, LOOK, RELEASE, Reply, START, Script},
};
use super::Notice;
use crate::{
    domain::journal::{Record, RecordedOutcome, SendKey},
    ports::{Journal, JournalResult, JournalUnavailable},
};

/// What the user sets.
#[derive(Clone, Debug)]
pub struct RedisJournalSettings {
    /// Where it is.
    pub url: RedisUrl,
    /// What our keys start with: `broker.prefix`.
    pub prefix: String,
    /// How long a send is remembered.
    pub retention: Duration,
}

/// What nobody sets but tests.
#[derive(Clone, Copy, Debug)]
struct Tuning {
    lease: Duration,
    /// How much of the lease must be left when an attempt starts.
    margin: Duration,
    /// How long after connecting nothing is taken over.
    grace: Duration,
    /// For one call.
    deadline: Duration,
    /// For connecting, also by Sentinels and to all nodes of a Cluster.
    connect: Duration,
    /// From one try to connect to the next.
    probe: Duration,
    /// How long a start may come late.
    late: Duration,
    /// How long a new server is in doubt.
    doubt: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        let lease = Duration::from_secs(15);
        Self {
            lease,
            margin: lease / 3,
            grace: lease,
            deadline: Duration::from_secs(2),
            connect: Duration::from_secs(5),
            probe: Duration::from_secs(1),
            late: Duration::from_mins(10),
            doubt: Duration::from_hours(1),
        }
    }
}

/// The journal in a Redis that several daemons share; clones share the connection and are one owner.
#[derive(Clone)]
pub struct RedisJournal {
    shared: Arc<Shared>,
}

impl fmt::Debug for RedisJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisJournal").field("url", &self.shared.url).finish_non_exhaustive()
    }
}

struct Shared {
    url: RedisUrl,
    prefix: String,
    retention_ms: String,
    tuning: Tuning,
    owner: String,
    held: Held,
    link: Link,
    stop: CancellationToken,
}

impl RedisJournal {
    /// A new owner. Nothing is connected before [`Self::run`]; until then everybody is told that it is unavailable.
    /// `tell` must not wait and must not ask the journal.
    #[must_use]
    pub fn new(settings: RedisJournalSettings, tell: impl Fn(Notice<'_>) + Send + Sync + 'static) -> Self {
        Self::with(settings, Tuning::default(), tell)
    }

    fn with(settings: RedisJournalSettings, tuning: Tuning, tell: impl Fn(Notice<'_>) + Send + Sync + 'static) -> Self {
        let shared = Shared {
            url: settings.url,
            prefix: settings.prefix,
            retention_ms: settings.retention.as_millis().to_string(),
            tuning,
            owner: Uuid::new_v4().simple().to_string(),
            held: Held::default(),
            link: Link::new(Box::new(tell)),
            stop: CancellationToken::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Keeps the connection and the lease until [`Self::close`]: to be spawned, once.
    pub async fn run(self) {
        tokio::select! {
            () = self.shared.stop.cancelled() => {}
            never = self.shared.keep() => match never {},
        }
    }

    /// Gives the lease back, so that nobody waits for it to end; whoever asks afterwards is told that it is unavailable.
    pub async fn close(&self) {
        self.shared.stop.cancel();
        if let Some(mut connection) = self.shared.link.close() {
            let key = self.shared.owner_key(self.shared.owner.as_bytes());
            // Else it ends by itself.
            let _ = self.shared.within(connection.query::<()>(cmd("DEL").arg(key))).await;
        }
    }
}

// --- Keys ---

impl Shared {
    fn key(&self, rest: &str) -> String {
        format!("{}:journal:{rest}", self.prefix)
    }

    /// What is in braces decides on the node of a Cluster.
    fn record_key(&self, send: &SendKey) -> String {
        self.key(&format!("{{{}}}", tag(send)))
    }

    fn probe_key(&self, tag: &str) -> String {
        self.key(&format!("probe:{{{tag}}}"))
    }

    fn owner_key(&self, id: &[u8]) -> String {
        self.key(&format!("owner:{}", String::from_utf8_lossy(id)))
    }
}

fn tag(send: &SendKey) -> String {
    format!("{}:{}", send.replay, send.command_id.as_str())
}

// --- Calls ---

impl Shared {
    /// Carries out a script on a record. A failure costs the connection: who keeps it finds out when it works again.
    async fn ask(&self, ready: &mut Ready, script: &Script, send: &SendKey, args: &[&[u8]]) -> JournalResult<Reply> {
        let key = self.record_key(send);
        let reply = self.within(script.run(&mut ready.connection, &key, args)).await;
        reply.map_err(|problem| self.link.failed(ready.generation, Some(&tag(send)), &problem))
    }

    /// The same for what changes something.
    async fn write(&self, ready: &mut Ready, script: &Script, send: &SendKey, args: &[&[u8]]) -> JournalResult<Reply> {
        let began = Instant::now();
        let reply = self.ask(ready, script, send, args).await?;
        self.link.tell(Notice::Wrote { took: began.elapsed() });
        Ok(reply)
    }

    fn unreadable(&self) -> JournalUnavailable {
        JournalUnavailable(Problem::Unreadable { at: self.url.to_string() }.to_string())
    }

    /// Whether an owner holds its lease, or may hold it.
    async fn lives(&self, ready: &mut Ready, owner: &[u8]) -> JournalResult<bool> {
        if !self.link.may_take_over() {
            return Ok(true);
        }
        let key = self.owner_key(owner);
        let lives = self.within(ready.connection.query(cmd("EXISTS").arg(key))).await;
        lives.map_err(|problem| self.link.failed(ready.generation, None, &problem))
    }

    async fn start(&self, ready: &mut Ready, send: &SendKey, number: u64) -> JournalResult<Started> {
        let number = number.to_string();
        let nobody = Attempt { owner: Vec::new(), number: Vec::new() };
        let mut from = nobody;
        loop {
            let args =
                [self.owner.as_bytes(), number.as_bytes(), self.retention_ms.as_bytes(), &from.owner, &from.number];
            let reply = self.write(ready, &START, send, &args).await?;
            match Started::read(reply).ok_or_else(|| self.unreadable())? {
                Started::Theirs(attempt) if from.owner.is_empty() && !self.lives(ready, &attempt.owner).await? => {
                    from = attempt;
                }
                started => return Ok(started),
            }
        }
    }
}

impl Journal for RedisJournal {
    async fn lookup(&self, key: &SendKey) -> JournalResult<Record> {
        let shared = &*self.shared;
        let mut ready = shared.link.ready()?;
        let reply = shared.ask(&mut ready, &LOOK, key, &[]).await?;
        match Looked::read(reply).ok_or_else(|| shared.unreadable())? {
            Looked::Still(record) => Ok(record),
            Looked::Started(attempt, before) if attempt.owner == shared.owner.as_bytes() => {
                // A start of ours whose answer was lost is as good as none.
                Ok(if shared.held.number(key).is_some() { Record::InProgress } else { before })
            }
            Looked::Started(attempt, _) => {
                Ok(if shared.lives(&mut ready, &attempt.owner).await? { Record::InProgress } else { Record::Orphaned })
            }
        }
    }

    async fn start_attempt(&self, key: &SendKey) -> JournalResult<Record> {
        let shared = &*self.shared;
        let mut ready = shared.link.ready()?;
        shared.link.may_start()?;
        let Some(claim) = shared.held.claim(key) else { return Ok(Record::InProgress) };
        match shared.start(&mut ready, key, claim.number()).await? {
            Started::Ours(record) => {
                // Also when the answer came: we may have been stopped in between.
                shared.link.may_start()?;
                claim.started();
                Ok(record)
            }
            Started::Theirs(_) => {
                claim.refused();
                Ok(Record::InProgress)
            }
            Started::Ended(ended) => {
                claim.refused();
                Ok(Record::Finished(ended))
            }
        }
    }

    async fn finish_attempt(&self, key: &SendKey, uncertain: bool) -> JournalResult<()> {
        let shared = &*self.shared;
        let number = shared.held.number(key).unwrap_or_default().to_string();
        let uncertain: &[u8] = if uncertain { b"1" } else { b"0" };
        let args = [shared.owner.as_bytes(), number.as_bytes(), shared.retention_ms.as_bytes(), uncertain];
        shared.write(&mut shared.link.ready()?, &RELEASE, key, &args).await?;
        shared.held.over(key);
        Ok(())
    }

    async fn record_outcome(&self, key: &SendKey, ended: RecordedOutcome) -> JournalResult<()> {
        let shared = &*self.shared;
        let owes: &[u8] = if ended.letter_pending { b"1" } else { b"0" };
        let args = [&*ended.event, owes, shared.retention_ms.as_bytes()];
        shared.write(&mut shared.link.ready()?, &END, key, &args).await?;
        shared.held.over(key);
        Ok(())
    }

    async fn record_letter_stored(&self, key: &SendKey) -> JournalResult<()> {
        let shared = &*self.shared;
        shared.write(&mut shared.link.ready()?, &LETTER_STORED, key, &[]).await.map(drop)
    }

    fn is_complete(&self) -> bool {
        self.shared.link.is_complete()
    }
}
