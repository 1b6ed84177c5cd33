//! The state that the clones of a Redis journal and its renewal task share: keys, calls and their timeouts.

use std::{future::Future, sync::Arc, time::Duration};

use redis::{RedisError, RedisResult, cmd};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    attempts::AttemptRegistry,
    error::RedisCallError,
    lease_state::{LeaseState, ReadyConnection},
    reply::{RecordedStart, StartResult},
    script::{LuaScript, START_ATTEMPT, ScriptReply},
    settings::{RedisJournalSettings, RedisTimings},
    url::RedisUrl,
};
use crate::{
    domain::journal::SendKey,
    journal::event::{EventListener, JournalEvent},
    ports::{JournalResult, JournalUnavailable},
};

/// One owner: its settings, its attempts, its connection and its lease.
pub(super) struct RedisJournalState {
    pub(super) url: RedisUrl,
    prefix: String,
    pub(super) retention_ms: String,
    pub(super) timings: RedisTimings,
    /// The owner's random id.
    pub(super) owner: String,
    pub(super) attempts: AttemptRegistry,
    pub(super) lease: LeaseState,
    pub(super) stop: CancellationToken,
}

impl RedisJournalState {
    pub(super) fn new(settings: RedisJournalSettings, timings: RedisTimings, listener: Box<EventListener>) -> Self {
        Self {
            url: settings.url,
            prefix: settings.prefix,
            retention_ms: settings.retention.as_millis().to_string(),
            timings,
            owner: Uuid::new_v4().simple().to_string(),
            attempts: AttemptRegistry::default(),
            lease: LeaseState::new(listener),
            stop: CancellationToken::new(),
        }
    }

    // --- Keys ---

    pub(super) fn key(&self, suffix: &str) -> String {
        format!("{}:journal:{suffix}", self.prefix)
    }

    /// The part in braces selects the node of a Cluster.
    pub(super) fn record_key(&self, send: &SendKey) -> String {
        self.key(&format!("{{{}}}", hash_tag(send)))
    }

    /// The key of the store's mark.
    pub(super) fn mark_key(&self) -> String {
        self.key("server")
    }

    pub(super) fn probe_key(&self, tag: &str) -> String {
        self.key(&format!("probe:{{{tag}}}"))
    }

    pub(super) fn owner_key(&self, id: &[u8]) -> String {
        self.key(&format!("owner:{}", String::from_utf8_lossy(id)))
    }

    // --- Calls ---

    /// Runs a script on a record. On failure the connection is dropped, and the renewal task reconnects.
    pub(super) async fn run_script(
        &self,
        ready: &mut ReadyConnection,
        script: &LuaScript,
        send: &SendKey,
        args: &[&[u8]],
    ) -> JournalResult<ScriptReply> {
        let record = self.record_key(send);
        self.run_on_keys(ready, script, send, &[&record], args).await
    }

    async fn run_on_keys(
        &self,
        ready: &mut ReadyConnection,
        script: &LuaScript,
        send: &SendKey,
        keys: &[&str],
        args: &[&[u8]],
    ) -> JournalResult<ScriptReply> {
        let reply = self.with_timeout(script.run(&mut ready.connection, keys, args)).await;
        reply.map_err(|error| self.lease.fail_call(ready.generation, Some(&hash_tag(send)), &error))
    }

    /// Runs a script that changes the record, and measures it.
    pub(super) async fn write(
        &self,
        ready: &mut ReadyConnection,
        script: &LuaScript,
        send: &SendKey,
        args: &[&[u8]],
    ) -> JournalResult<ScriptReply> {
        let began = Instant::now();
        let reply = self.run_script(ready, script, send, args).await?;
        self.lease.emit(JournalEvent::Committed { duration: began.elapsed() });
        Ok(reply)
    }

    pub(super) fn unreadable_record(&self) -> JournalUnavailable {
        JournalUnavailable(RedisCallError::UnreadableRecord { hosts: self.url.to_string() }.to_string())
    }

    /// Whether an owner holds its lease, or may still renew it.
    pub(super) async fn is_owner_alive(&self, ready: &mut ReadyConnection, owner: &[u8]) -> JournalResult<bool> {
        if !self.lease.may_take_over() {
            return Ok(true);
        }
        let key = self.owner_key(owner);
        let exists = self.with_timeout(ready.connection.query(cmd("EXISTS").arg(key))).await;
        exists.map_err(|error| self.lease.fail_call(ready.generation, None, &error))
    }

    /// Records the start of an attempt. If an owner without a lease has one in progress, takes it over.
    pub(super) async fn start_attempt(
        &self,
        ready: &mut ReadyConnection,
        send: &SendKey,
        number: u64,
    ) -> JournalResult<StartResult> {
        let number = number.to_string();
        let mut take_over = RecordedStart { owner: Vec::new(), number: Vec::new(), counted: 0 };
        let (record, mark) = (self.record_key(send), self.mark_key());
        let keys: &[&str] = if self.url.is_cluster() { &[&record] } else { &[&record, &mark] };
        loop {
            let (owner, retention_ms) = (self.owner.as_bytes(), self.retention_ms.as_bytes());
            let checked = Arc::clone(&ready.mark);
            let args =
                [owner, number.as_bytes(), retention_ms, &take_over.owner, &take_over.number, checked.as_bytes()];
            let began = Instant::now();
            let reply = self.run_on_keys(ready, &START_ATTEMPT, send, keys, &args).await?;
            self.lease.emit(JournalEvent::Committed { duration: began.elapsed() });
            match StartResult::parse(reply).ok_or_else(|| self.unreadable_record())? {
                StartResult::HeldBy(start)
                    if take_over.owner.is_empty() && !self.is_owner_alive(ready, &start.owner).await? =>
                {
                    take_over = start;
                }
                result => return Ok(result),
            }
        }
    }

    // --- Timeouts ---

    pub(super) async fn with_timeout<T>(
        &self,
        call: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, RedisCallError> {
        match timeout(self.timings.call_timeout, call).await {
            Ok(result) => result.map_err(|error| self.call_error(&error)),
            Err(_) => Err(self.timed_out(self.timings.call_timeout)),
        }
    }

    pub(super) fn timed_out(&self, timeout: Duration) -> RedisCallError {
        RedisCallError::Timeout { hosts: self.url.to_string(), timeout }
    }

    pub(super) fn call_error(&self, error: &RedisError) -> RedisCallError {
        if error.is_timeout() {
            return self.timed_out(self.timings.call_timeout);
        }
        RedisCallError::new(error, self.url.to_string())
    }
}

fn hash_tag(send: &SendKey) -> String {
    format!("{}:{}", send.replay, send.command_id.as_str())
}
