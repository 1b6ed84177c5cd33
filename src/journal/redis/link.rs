//! Whether Redis can be asked now, whether we may start attempts, and who is told when that changes.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{connection::Connection, problem::Problem};
use crate::{journal::Notice, ports::JournalUnavailable};

/// Where notices go; called with a lock held, so it must not wait or ask the journal.
pub(super) type Tell = dyn Fn(Notice<'_>) + Send + Sync;

/// The state of the connection and of our lease.
pub(super) struct Link {
    state: Mutex<State>,
    lost: Notify,
    tell: Box<Tell>,
}

struct State {
    connection: Option<Connection>,
    /// Which connection; a problem of an old one says nothing about this one.
    generation: u64,
    /// By our clock, which no time server turns back: until then our lease is certain to hold.
    lease_until: Instant,
    /// Before that, other owners may not have had the time to renew their leases.
    takeover_from: Instant,
    why: String,
    /// What is told was that it is unavailable.
    told_unavailable: bool,
    /// The hash tag of the key whose call failed: the server that has it must work again.
    failed_tag: Option<String>,
    is_complete: bool,
}

/// A connection that may be used now.
pub(super) struct Ready {
    pub(super) connection: Connection,
    pub(super) generation: u64,
}

impl Link {
    pub(super) fn new(tell: Box<Tell>) -> Self {
        let now = Instant::now();
        let state = State {
            connection: None,
            generation: 0,
            lease_until: now,
            takeover_from: now,
            why: "Redis has not answered yet".to_owned(),
            told_unavailable: false,
            failed_tag: None,
            is_complete: false,
        };
        Self { state: Mutex::new(state), lost: Notify::new(), tell }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, notice: Notice<'_>) {
        (self.tell)(notice);
    }

    /// The connection, while there is one.
    pub(super) fn ready(&self) -> Result<Ready, JournalUnavailable> {
        let state = self.lock();
        let connection = state.connection.clone().ok_or_else(|| JournalUnavailable(state.why.clone()))?;
        Ok(Ready { connection, generation: state.generation })
    }

    /// Whether an attempt may start now: nobody will take it over for as long as the margin lasts.
    pub(super) fn may_start(&self) -> Result<(), JournalUnavailable> {
        if Instant::now() < self.lock().lease_until {
            return Ok(());
        }
        Err(JournalUnavailable("the lease was not renewed in time, so others may take our attempts over".to_owned()))
    }

    pub(super) fn may_take_over(&self) -> bool {
        Instant::now() >= self.lock().takeover_from
    }

    pub(super) fn is_complete(&self) -> bool {
        self.lock().is_complete
    }

    /// Forgets the connection, and wakes who makes a new one.
    pub(super) fn failed(&self, generation: u64, tag: Option<&str>, problem: &Problem) -> JournalUnavailable {
        let mut state = self.lock();
        let why = problem.to_string();
        if generation == state.generation && state.connection.take().is_some() {
            state.failed_tag = tag.map(str::to_owned);
            self.lost.notify_one();
            self.unavailable(&mut state, &why);
        }
        JournalUnavailable(why)
    }

    /// It could not be connected, or what connected does not do.
    pub(super) fn refused(&self, problem: &Problem) {
        let mut state = self.lock();
        state.connection = None;
        self.unavailable(&mut state, &problem.to_string());
    }

    fn unavailable(&self, state: &mut State, why: &str) {
        state.is_complete = false;
        if !state.told_unavailable || state.why != why {
            why.clone_into(&mut state.why);
            state.told_unavailable = true;
            self.tell(Notice::Unavailable { why });
        }
    }

    /// A new connection has proved that it works.
    pub(super) fn opened(&self, connection: Connection, grace: Duration) {
        let mut state = self.lock();
        state.connection = Some(connection);
        state.generation += 1;
        state.takeover_from = Instant::now() + grace;
        state.failed_tag = None;
        if std::mem::take(&mut state.told_unavailable) {
            self.tell(Notice::Available);
        }
    }

    /// The lease was renewed: by this time our own right ends.
    pub(super) fn renewed(&self, lease_until: Instant) {
        self.lock().lease_until = lease_until;
    }

    pub(super) fn completeness(&self, is_complete: bool) {
        self.lock().is_complete = is_complete;
    }

    pub(super) fn failed_tag(&self) -> Option<String> {
        self.lock().failed_tag.clone()
    }

    /// Resolves when a caller found the connection broken.
    pub(super) async fn lost(&self) {
        self.lost.notified().await;
    }

    /// For good.
    pub(super) fn close(&self) -> Option<Connection> {
        let mut state = self.lock();
        "it has been closed".clone_into(&mut state.why);
        state.told_unavailable = true;
        state.connection.take()
    }
}
