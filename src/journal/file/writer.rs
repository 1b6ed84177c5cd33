//! The writer thread, which owns the store: takes requests, commits them as one batch, then replies.

use std::{
    mem,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    error::StorageError,
    key::KeyHash,
    maintenance::IndexBuild,
    settings::FileJournalLimits,
    state::FileJournalState,
    store::{Operation, Store},
};
use crate::{
    domain::journal::Record,
    journal::event::{EventListener, JournalEvent},
    ports::{JournalResult, JournalUnavailable},
};

/// The maximum number of requests in a batch.
const MAX_BATCH: usize = 1_024;
/// A batch is committed once it has this size.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// After a batch of this size the writer pauses before the next one, so that more requests share a sync; a fast disk
/// would otherwise be synced for every few.
const BUSY_BATCH: usize = 8;
const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// The doubt of a shared queue is recorded again after this part of its period.
const SHARED_DOUBT_PARTS: i64 = 16;

/// A request to the writer.
pub(super) enum WriterRequest {
    Apply {
        hash: KeyHash,
        operation: Operation,
        reply: oneshot::Sender<JournalResult<Record>>,
    },
    /// Records that the event of an outcome is confirmed, with a later change or within a second. Nobody waits for it.
    Published(KeyHash),
    /// Ends the doubt that existed at opening.
    EndFormerDoubt,
    /// Records the doubt of a shared queue.
    RecordSharedQueue,
    /// Ends the writer; the reply comes once another process can open the directory.
    Close(oneshot::Sender<()>),
}

type PendingReply = (oneshot::Sender<JournalResult<Record>>, Record);

/// The reason why every call fails.
struct WriterFailure {
    reason: String,
    /// The send whose record cannot be read; `None` if a write failed.
    unreadable: Option<KeyHash>,
}

/// The state of the writer thread.
pub(super) struct Writer {
    store: Store,
    limits: FileJournalLimits,
    state: Arc<FileJournalState>,
    listener: Box<EventListener>,
    failure: Option<WriterFailure>,
    index_build: Option<IndexBuild>,
    pending_replies: Vec<PendingReply>,
    /// The doubt that was reported last.
    doubt_reason: Option<&'static str>,
    /// Confirmed events that are not yet in a batch.
    published: Vec<KeyHash>,
    /// Those in the batch; back to `published` if it fails.
    published_in_batch: Vec<KeyHash>,
}

impl Writer {
    pub(super) fn new(
        store: Store,
        limits: FileJournalLimits,
        state: Arc<FileJournalState>,
        listener: Box<EventListener>,
    ) -> Self {
        let pending_replies = Vec::with_capacity(MAX_BATCH);
        Self {
            store,
            limits,
            state,
            listener,
            failure: None,
            index_build: None,
            pending_replies,
            doubt_reason: None,
            published: Vec::new(),
            published_in_batch: Vec::new(),
        }
    }

    /// Runs until every handle is dropped or the journal is closed.
    pub(super) async fn run(mut self, mut requests: mpsc::UnboundedReceiver<WriterRequest>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        let interval = self.store.tuning.maintenance_interval;
        let mut next_maintenance = Instant::now();
        self.report_doubt();
        loop {
            let wait = next_maintenance.saturating_duration_since(Instant::now());
            match timeout(wait, requests.recv_many(&mut batch, MAX_BATCH)).await {
                Ok(0) => return self.finish(),
                Ok(count) => {
                    if let Some(closed) = self.process(&mut batch) {
                        self.finish();
                        let _ = closed.send(());
                        return;
                    }
                    if count >= BUSY_BATCH {
                        // Blocking is fine: this thread runs nothing else.
                        thread::sleep(BUSY_PAUSE);
                    }
                }
                Err(_) => {}
            }
            if Instant::now() >= next_maintenance {
                self.maintain();
                next_maintenance = Instant::now() + interval;
            }
        }
    }

    /// Unlocks the directory once no thread writes to it.
    fn finish(mut self) {
        self.index_build.take().into_iter().for_each(IndexBuild::wait);
    }

    /// Applies, commits and answers a batch; returns the reply channel of a close request.
    fn process(&mut self, batch: &mut Vec<WriterRequest>) -> Option<oneshot::Sender<()>> {
        let at_ms = self.state.now().as_millisecond();
        let mut closing = None;
        for request in batch.drain(..) {
            match request {
                WriterRequest::Apply { hash, operation, reply } => {
                    self.apply_published(at_ms);
                    self.apply(hash, operation, reply, at_ms);
                }
                WriterRequest::Published(hash) => self.published.push(hash),
                WriterRequest::EndFormerDoubt => self.end_former_doubt(),
                WriterRequest::RecordSharedQueue => self.record_shared_queue(),
                WriterRequest::Close(closed) => closing = Some(closed),
            }
            if self.store.active.batch_bytes() >= MAX_BATCH_BYTES {
                self.commit();
            }
        }
        if closing.is_some() {
            self.apply_published(at_ms);
        }
        self.commit();
        closing
    }

    /// Adds the confirmed events to the batch.
    fn apply_published(&mut self, at_ms: i64) {
        if self.failure.is_some() || self.published.is_empty() {
            return;
        }
        for hash in mem::take(&mut self.published) {
            match self.store.apply(hash, Operation::RecordPublished, at_ms) {
                Ok(_) => self.published_in_batch.push(hash),
                // Its record cannot be read, so it is not known to be published.
                Err(error) => drop(self.fail(&error, Some(hash))),
            }
        }
    }

    fn end_former_doubt(&mut self) {
        if self.state.is_shared_queue() {
            return self.state.former_doubt_served(false);
        }
        let dropped_until_ms = self.state.dropped_until_ms();
        let ended = self.store.dir.update_header(|header| header.doubt_until_ms = dropped_until_ms);
        self.state.former_doubt_served(ended.is_ok());
        match ended {
            Ok(()) => self.report_doubt(),
            Err(error) => drop(self.fail(&error, None)),
        }
    }

    /// Keeps on record, beyond the end of this process, that attempts of other daemons are missing here. Ahead by a part of
    /// the period, so that the header is rarely written.
    fn record_shared_queue(&mut self) {
        let until_ms = self.state.now().as_millisecond().saturating_add(self.limits.doubt_ms);
        // During a failure nothing is attempted, and maintenance follows it.
        let is_due = self.failure.is_none() && self.store.dir.header().doubt_until_ms < until_ms;
        if !(is_due && self.state.is_shared_queue()) {
            return;
        }
        let ahead_ms = until_ms.saturating_add(self.limits.doubt_ms / SHARED_DOUBT_PARTS);
        if let Err(error) = self.store.dir.update_header(|header| header.doubt_until_ms = ahead_ms) {
            self.fail(&error, None);
        }
    }

    /// Reports a change of the doubt.
    fn report_doubt(&mut self) {
        let before = mem::replace(&mut self.doubt_reason, self.state.doubt_reason());
        match self.doubt_reason {
            Some(reason) if before != Some(reason) => (self.listener)(JournalEvent::InDoubt { reason }),
            None if before.is_some() => (self.listener)(JournalEvent::DoubtEnded),
            _ => {}
        }
    }

    fn apply(
        &mut self,
        hash: KeyHash,
        operation: Operation,
        reply: oneshot::Sender<JournalResult<Record>>,
        at_ms: i64,
    ) {
        let reason = match &self.failure {
            Some(failure) => failure.reason.clone(),
            None => match self.store.apply(hash, operation, at_ms) {
                Ok(record) => return self.pending_replies.push((reply, record)),
                Err(error) => self.fail(&error, Some(hash)),
            },
        };
        // An error means that the caller was cancelled.
        let _ = reply.send(Err(JournalUnavailable(reason)));
    }

    /// Makes the batch durable and sends its replies: the only place that reports success.
    fn commit(&mut self) {
        let (started, has_writes) = (Instant::now(), self.store.active.batch_bytes() > 0);
        let failed = self.store.commit().err().map(|error| self.fail(&error, None));
        match &failed {
            Some(_) => self.published.append(&mut self.published_in_batch),
            None => self.published_in_batch.clear(),
        }
        if has_writes && failed.is_none() {
            (self.listener)(JournalEvent::Committed { duration: started.elapsed() });
        }
        for (reply, record) in self.pending_replies.drain(..) {
            let result = failed.as_ref().map_or(Ok(record), |reason| Err(JournalUnavailable(reason.clone())));
            let _ = reply.send(result);
        }
        if failed.is_none() && has_writes && self.store.is_full(self.state.now(), &self.limits) {
            self.rotate();
        }
    }

    fn rotate(&mut self) {
        match self.store.rotate() {
            Ok(()) => self.store.build_indexes(&mut self.index_build, &self.listener),
            Err(error) => drop(self.fail(&error, None)),
        }
    }

    /// Fails every call from now on; reports each reason once.
    fn fail(&mut self, error: &StorageError, unreadable: Option<KeyHash>) -> String {
        let reason = error.to_string();
        if self.failure.as_ref().is_none_or(|failure| failure.reason != reason) {
            (self.listener)(JournalEvent::Unavailable { reason: &reason });
        }
        self.failure = Some(WriterFailure { reason: reason.clone(), unreadable });
        reason
    }

    fn maintain(&mut self) {
        if self.failure.is_none() && self.store.active.is_unlinked() {
            let dir = self.store.dir.path().to_owned();
            self.fail(&StorageError::DirectoryReplaced { dir }, None);
        }
        self.apply_published(self.state.now().as_millisecond());
        self.commit();
        // Even if nothing can be written: removing a segment may free the space.
        self.apply_retention();
        self.record_shared_queue();
        if self.failure.is_some() {
            self.recover();
        } else if self.store.is_full(self.state.now(), &self.limits) {
            self.rotate();
        } else {
            self.store.build_indexes(&mut self.index_build, &self.listener);
        }
        self.report_doubt();
        (self.listener)(JournalEvent::Size { entries: self.store.entries(), bytes: self.store.bytes() });
    }

    /// Retries the failed action. After a failed write the file is not written again: the part of it in the page cache
    /// may never reach the disk.
    fn recover(&mut self) {
        let unreadable = self.failure.as_ref().and_then(|failure| failure.unreadable);
        let retried = match unreadable {
            Some(hash) => self.store.find(hash).map(drop),
            None => self.store.rotate(),
        };
        match retried {
            Ok(()) => {
                self.failure = None;
                (self.listener)(JournalEvent::Available);
            }
            Err(error) => drop(self.fail(&error, unreadable)),
        }
    }

    fn apply_retention(&mut self) {
        let (now, may_write) = (self.state.capped_now(), self.failure.is_none());
        let removed = self.store.remove_oldest_segment(now, &self.limits, may_write, &self.listener);
        self.state.set_dropped_until(self.store.dropped_until_ms);
        if let Err(error) = removed {
            self.fail(&error, None);
        }
    }
}
