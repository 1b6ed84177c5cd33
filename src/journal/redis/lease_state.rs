//! The state of the connection and of this owner's lease, and the events of their changes.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    connection::RedisConnection,
    error::RedisCallError,
    store::{CheckedStore, DoubtCause},
};
use crate::{
    journal::event::{EventListener, JournalEvent},
    ports::JournalUnavailable,
    sync::lock,
};

/// The connection and the lease.
pub(super) struct LeaseState {
    status: Mutex<LeaseStatus>,
    lost: Notify,
    store_changed: Notify,
    listener: Box<EventListener>,
}

struct LeaseStatus {
    connection: Option<RedisConnection>,
    /// Counts connections, so that the failure of an earlier one does not close the present one.
    generation: u64,
    /// Attempts may start until then: `margin` before the lease can expire.
    lease_until: Instant,
    /// Before this time other owners may not have had time to renew their leases.
    takeover_from: Instant,
    unavailable_reason: String,
    /// [`JournalEvent::Unavailable`] was reported and [`JournalEvent::Available`] not since; also set by
    /// [`LeaseState::close`].
    is_unavailable_reported: bool,
    /// The hash tag of the key of the failed call: its server must accept writes again.
    failed_tag: Option<String>,
    /// The store's mark when it was last checked.
    mark: Arc<str>,
    /// The store was checked on this connection, and is not in doubt.
    is_complete: bool,
    reported_doubt: Option<DoubtCause>,
}

/// A usable connection.
pub(super) struct ReadyConnection {
    pub(super) connection: RedisConnection,
    pub(super) generation: u64,
    /// The store's mark when it was last checked; empty in a Cluster.
    pub(super) mark: Arc<str>,
}

impl LeaseState {
    pub(super) fn new(listener: Box<EventListener>) -> Self {
        let now = Instant::now();
        let status = LeaseStatus {
            connection: None,
            generation: 0,
            lease_until: now,
            takeover_from: now,
            unavailable_reason: "Redis has not answered yet".to_owned(),
            is_unavailable_reported: false,
            failed_tag: None,
            mark: Arc::default(),
            is_complete: false,
            reported_doubt: None,
        };
        Self { status: Mutex::new(status), lost: Notify::new(), store_changed: Notify::new(), listener }
    }

    pub(super) fn emit(&self, event: JournalEvent<'_>) {
        (self.listener)(event);
    }

    /// Returns the connection, or the reason why there is none.
    pub(super) fn connection(&self) -> Result<ReadyConnection, JournalUnavailable> {
        let status = lock(&self.status);
        let connection = status.connection.clone();
        let connection = connection.ok_or_else(|| JournalUnavailable(status.unavailable_reason.clone()))?;
        Ok(ReadyConnection { connection, generation: status.generation, mark: Arc::clone(&status.mark) })
    }

    /// Succeeds if an attempt may start now: no other owner takes it over while the margin lasts.
    pub(super) fn check_lease(&self) -> Result<(), JournalUnavailable> {
        if Instant::now() < lock(&self.status).lease_until {
            return Ok(());
        }
        Err(JournalUnavailable(
            "the lease was not renewed in time, so other daemons may take over this one's attempts".to_owned(),
        ))
    }

    pub(super) fn may_take_over(&self) -> bool {
        Instant::now() >= lock(&self.status).takeover_from
    }

    pub(super) fn is_complete(&self) -> bool {
        lock(&self.status).is_complete
    }

    /// Whether the store has lost nothing of what was written since it was found empty.
    pub(super) fn has_newest_records(&self) -> bool {
        let status = lock(&self.status);
        status.is_complete || status.reported_doubt == Some(DoubtCause::Empty)
    }

    /// Drops the connection after a failed call and wakes the renewal task. `tag` is the hash tag of the call's key.
    pub(super) fn fail_call(&self, generation: u64, tag: Option<&str>, error: &RedisCallError) -> JournalUnavailable {
        let mut status = lock(&self.status);
        let reason = error.to_string();
        if generation == status.generation && status.connection.take().is_some() {
            status.failed_tag = tag.map(str::to_owned);
            self.lost.notify_one();
            self.set_unavailable(&mut status, &reason);
        }
        JournalUnavailable(reason)
    }

    /// Drops the connection after the renewal task failed to connect or to use it.
    pub(super) fn fail_renewal(&self, error: &RedisCallError) {
        let mut status = lock(&self.status);
        status.connection = None;
        self.set_unavailable(&mut status, &error.to_string());
    }

    fn set_unavailable(&self, status: &mut LeaseStatus, reason: &str) {
        status.is_complete = false;
        if !status.is_unavailable_reported || status.unavailable_reason != reason {
            reason.clone_into(&mut status.unavailable_reason);
            status.is_unavailable_reported = true;
            self.emit(JournalEvent::Unavailable { reason });
        }
    }

    /// Publishes a connection that has been verified.
    pub(super) fn set_connected(&self, connection: RedisConnection, takeover_delay: Duration) {
        let mut status = lock(&self.status);
        status.connection = Some(connection);
        status.generation += 1;
        status.takeover_from = Instant::now() + takeover_delay;
        status.failed_tag = None;
        if std::mem::take(&mut status.is_unavailable_reported) {
            self.emit(JournalEvent::Available);
        }
    }

    /// Allows attempts to start until this time.
    pub(super) fn set_lease_until(&self, lease_until: Instant) {
        lock(&self.status).lease_until = lease_until;
    }

    /// Records the result of a check, and reports when the doubt begins, changes or ends.
    pub(super) fn set_store(&self, CheckedStore { mark, doubt }: CheckedStore) {
        let mut status = lock(&self.status);
        status.is_complete = doubt.is_none();
        if *status.mark != *mark {
            status.mark = mark.into();
        }
        if std::mem::replace(&mut status.reported_doubt, doubt) != doubt {
            self.emit(match doubt {
                Some(cause) => JournalEvent::InDoubt { reason: cause.as_str() },
                None => JournalEvent::DoubtEnded,
            });
        }
    }

    /// Wakes the renewal task: the store is not the one that was checked.
    pub(super) fn report_store_changed(&self) -> JournalUnavailable {
        lock(&self.status).is_complete = false;
        self.store_changed.notify_one();
        JournalUnavailable("Redis was emptied or replaced and must be checked first".to_owned())
    }

    /// Resolves when a start has found another store.
    pub(super) async fn store_changed(&self) {
        self.store_changed.notified().await;
    }

    pub(super) fn failed_tag(&self) -> Option<String> {
        lock(&self.status).failed_tag.clone()
    }

    /// Resolves when a call has failed.
    pub(super) async fn connection_lost(&self) {
        self.lost.notified().await;
    }

    /// Makes every later call fail; returns the last connection.
    pub(super) fn close(&self) -> Option<RedisConnection> {
        let mut status = lock(&self.status);
        "it has been closed".clone_into(&mut status.unavailable_reason);
        status.is_unavailable_reported = true;
        status.connection.take()
    }
}
