//! The one thread that owns the store: it takes what is asked, writes it as one batch, waits for the disk, answers.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    Limits, Shared,
    fault::Fault,
    key::KeyHash,
    notice::{Notice, Tell},
    store::{Ask, Store},
    upkeep::Building,
};
use crate::{
    domain::journal::Record,
    ports::{JournalResult, JournalUnavailable},
};

/// At most so many asks a batch.
const MAX_BATCH: usize = 1_024;
/// And at most about so many bytes.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// After a batch of so many, more are awaited for a moment before the next: a disk that is fast would else be asked for every
/// few.
const BUSY: usize = 8;
const MOMENT: Duration = Duration::from_millis(1);

/// What comes over the channel.
pub(super) enum Message {
    /// About a send.
    Ask { hash: KeyHash, ask: Ask, reply: oneshot::Sender<JournalResult<Record>> },
    /// Nothing more will be asked; the reply comes when the directory is free for another.
    Close(oneshot::Sender<()>),
}

type Reply = (oneshot::Sender<JournalResult<Record>>, Record);

/// Why nothing can be told durable.
struct Trouble {
    why: String,
    /// The send whose record cannot be read; if none, writing failed.
    unreadable: Option<KeyHash>,
}

/// The writer's state.
pub(super) struct Writer {
    store: Store,
    limits: Limits,
    shared: Arc<Shared>,
    tell: Box<Tell>,
    trouble: Option<Trouble>,
    building: Option<Building>,
    replies: Vec<Reply>,
}

impl Writer {
    pub(super) fn new(store: Store, limits: Limits, shared: Arc<Shared>, tell: Box<Tell>) -> Self {
        Self { store, limits, shared, tell, trouble: None, building: None, replies: Vec::with_capacity(MAX_BATCH) }
    }

    /// Works until everybody has let go of the journal, or somebody closes it.
    pub(super) async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        let tick = self.store.tuning.tick;
        let mut next_upkeep = Instant::now();
        loop {
            let wait = next_upkeep.saturating_duration_since(Instant::now());
            match timeout(wait, messages.recv_many(&mut batch, MAX_BATCH)).await {
                Ok(0) => return self.finish(),
                Ok(count) => {
                    if let Some(closed) = self.work(&mut batch) {
                        self.finish();
                        let _ = closed.send(());
                        return;
                    }
                    if count >= BUSY {
                        // The thread is ours.
                        thread::sleep(MOMENT);
                    }
                }
                Err(_) => {}
            }
            if Instant::now() >= next_upkeep {
                self.upkeep();
                next_upkeep = Instant::now() + tick;
            }
        }
    }

    /// Lets go of the directory when nobody writes in it any more.
    fn finish(mut self) {
        self.building.take().into_iter().for_each(Building::wait);
    }

    /// Answers a batch; tells whom to answer when it was the last one.
    fn work(&mut self, batch: &mut Vec<Message>) -> Option<oneshot::Sender<()>> {
        let at_ms = self.now().as_millisecond();
        let mut closing = None;
        for message in batch.drain(..) {
            match message {
                Message::Ask { hash, ask, reply } => self.answer(hash, ask, reply, at_ms),
                Message::Close(closed) => closing = Some(closed),
            }
            if self.store.active.pending() >= MAX_BATCH_BYTES {
                self.commit();
            }
        }
        self.commit();
        closing
    }

    fn answer(&mut self, hash: KeyHash, ask: Ask, reply: oneshot::Sender<JournalResult<Record>>, at_ms: i64) {
        let refused = match &self.trouble {
            Some(trouble) => trouble.why.clone(),
            None => match self.store.apply(hash, ask, at_ms) {
                Ok(record) => return self.replies.push((reply, record)),
                Err(fault) => self.fail(&fault, Some(hash)),
            },
        };
        // Whoever asked may have gone away.
        let _ = reply.send(Err(JournalUnavailable(refused)));
    }

    /// Makes the batch durable and answers it; the one place where what is durable is told.
    fn commit(&mut self) {
        let (started, writes) = (Instant::now(), self.store.active.pending() > 0);
        let failed = self.store.commit().err().map(|fault| self.fail(&fault, None));
        if writes && failed.is_none() {
            (self.tell)(Notice::Wrote { took: started.elapsed() });
        }
        for (reply, record) in self.replies.drain(..) {
            let answer = failed.as_ref().map_or(Ok(record), |why| Err(JournalUnavailable(why.clone())));
            let _ = reply.send(answer);
        }
        if failed.is_none() && writes && self.store.is_full(self.now(), &self.limits) {
            self.rotate();
        }
    }

    fn rotate(&mut self) {
        match self.store.rotate() {
            Ok(()) => self.store.index(&mut self.building, &self.tell),
            Err(fault) => drop(self.fail(&fault, None)),
        }
    }

    /// Notes why nothing goes on, and tells it once.
    fn fail(&mut self, fault: &Fault, unreadable: Option<KeyHash>) -> String {
        let why = fault.to_string();
        if self.trouble.as_ref().is_none_or(|trouble| trouble.why != why) {
            (self.tell)(Notice::Unavailable { why: &why });
        }
        self.trouble = Some(Trouble { why: why.clone(), unreadable });
        why
    }

    fn upkeep(&mut self) {
        if self.trouble.is_none() && self.store.active.is_unlinked() {
            let dir = self.store.dir.path().to_owned();
            self.fail(&Fault::Gone { dir }, None);
        }
        // Also when nothing can be written: it may make room.
        self.forget();
        if self.trouble.is_some() {
            self.recover();
        } else if self.store.is_full(self.now(), &self.limits) {
            self.rotate();
        } else {
            self.store.index(&mut self.building, &self.tell);
        }
        (self.tell)(Notice::Holds { entries: self.store.entries(), bytes: self.store.bytes() });
    }

    /// Tries what failed. After a failed write nothing is written to that file again: what the page cache holds of it may
    /// never reach the disk.
    fn recover(&mut self) {
        let unreadable = self.trouble.as_ref().and_then(|trouble| trouble.unreadable);
        let tried = match unreadable {
            Some(hash) => self.store.find(hash).map(drop),
            None => self.store.rotate(),
        };
        match tried {
            Ok(()) => {
                self.trouble = None;
                (self.tell)(Notice::Available);
            }
            Err(fault) => drop(self.fail(&fault, unreadable)),
        }
    }

    fn forget(&mut self) {
        let (now, may_write) = (self.shared.aged_to(), self.trouble.is_none());
        match self.store.forget(now, &self.limits, may_write, &self.tell) {
            Ok(Some(until_ms)) => self.shared.incomplete_until(until_ms),
            Ok(None) => {}
            Err(fault) => drop(self.fail(&fault, None)),
        }
    }

    fn now(&self) -> Timestamp {
        (self.shared.now)()
    }
}

/// How often upkeep is due, and what fails is tried again.
pub(super) const TICK: Duration = Duration::from_secs(1);
