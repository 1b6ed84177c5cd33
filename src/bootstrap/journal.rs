//! Opens the journal that the settings select, and connects it with the gate, the metrics and the log.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use tracing::{info, warn};

use crate::{
    config::JournalChoice,
    gate::{Gate, GateHold, GateReason},
    journal::{AnyJournal, FileJournal, JournalEvent, NoJournal, OpenError, RedisJournal},
    ports::{Clock, SystemClock},
    sync,
    telemetry::{
        Telemetry,
        events::{JournalDegraded, JournalDoubtEnded, JournalInDoubt, JournalSize, JournalWritten},
    },
};

/// Opens the journal.
///
/// # Errors
/// If it cannot be opened; the error names the file and the remedy.
pub(super) fn open(choice: &JournalChoice, gate: &Gate, telemetry: &Telemetry) -> Result<AnyJournal, OpenError> {
    let observer = JournalObserver { telemetry: telemetry.clone(), gate: gate.clone(), hold: Mutex::default() };
    let on_event = move |event: JournalEvent<'_>| observer.handle(event);
    match choice {
        JournalChoice::File(settings) => {
            let journal = FileJournal::open(settings, || SystemClock.now(), on_event)?;
            let dir = settings.dir.display();
            info!(%dir, "journal opened in the directory {dir}");
            Ok(AnyJournal::File(journal))
        }
        JournalChoice::Redis(settings) => {
            info!("journal in Redis; connecting");
            Ok(AnyJournal::Redis(RedisJournal::new(settings.clone(), on_event)))
        }
        JournalChoice::None => {
            warn!("journal.kind = \"none\": after a crash or a lost connection, attempts in flight may be sent twice");
            Ok(AnyJournal::None(NoJournal))
        }
    }
}

/// Completes the pending writes and releases the journal.
pub(super) async fn close(journal: &AnyJournal) {
    match journal {
        AnyJournal::File(file) => file.close().await,
        AnyJournal::Redis(redis) => redis.close().await,
        AnyJournal::None(_) => {}
    }
}

/// Runs the background work of the journal, such as lease renewal, until the journal is closed.
pub(super) async fn run(journal: AnyJournal) {
    if let AnyJournal::Redis(redis) = journal {
        redis.run().await;
    }
}

/// Returns a callback for the number of other daemons' consumers. With another daemon on the queue, a journal `file` is not
/// complete, because it lacks the attempts of that daemon.
pub(super) fn on_other_consumers(journal: &AnyJournal, telemetry: &Telemetry) -> Arc<dyn Fn(u32) + Send + Sync> {
    let (journal, telemetry, is_reported) = (journal.clone(), telemetry.clone(), AtomicBool::new(false));
    Arc::new(move |others| {
        let AnyJournal::File(file) = &journal else { return };
        if others > 0 && !is_reported.swap(true, Ordering::Relaxed) {
            file.set_shared_queue();
            let consumers = others.saturating_add(1);
            let problem = &format!(
                "the queue has {consumers} consumers, but this journal records only the attempts of this daemon; after \
                 a crash, another daemon may send a command twice; run one daemon on the queue, or set journal.kind = \
                 \"redis\" for all of them"
            );
            telemetry.record(JournalDegraded { problem });
        }
    })
}

/// Turns the events of a journal into the gate's reason, metrics and log lines.
struct JournalObserver {
    telemetry: Telemetry,
    gate: Gate,
    /// Present while the journal is unavailable.
    hold: Mutex<Option<GateHold>>,
}

impl JournalObserver {
    fn handle(&self, event: JournalEvent<'_>) {
        match event {
            JournalEvent::Committed { duration } => self.telemetry.record(JournalWritten { took: duration }),
            JournalEvent::Size { entries, bytes } => self.telemetry.record(JournalSize { entries, bytes }),
            JournalEvent::Unavailable { reason } => {
                let mut hold = sync::lock(&self.hold);
                hold.get_or_insert_with(|| self.gate.close(GateReason::Journal, reason));
            }
            JournalEvent::Available => drop(sync::lock(&self.hold).take()),
            JournalEvent::InDoubt { reason } => self.telemetry.record(JournalInDoubt { reason }),
            JournalEvent::DoubtEnded => self.telemetry.record(JournalDoubtEnded),
            JournalEvent::TornTailCut { path, bytes } => {
                let path = path.display();
                info!(%path, bytes, "removed {bytes} bytes at the end of {path}, an incomplete write before a crash");
            }
            JournalEvent::IndexRebuilt { path } => {
                let path = path.display();
                info!(%path, "rebuilt the missing or damaged index of {path}");
            }
            JournalEvent::SegmentMissing { number } => self.degraded(&format!(
                "segment {number} is missing, and its records with it; commands that the broker redelivers count as \
                 possible duplicates"
            )),
            JournalEvent::DroppedEarly { entries, newest } => self.degraded(&format!(
                "the journal is full; dropped {entries} records up to {newest} before their retention ended; raise \
                 journal.max_bytes, or lower journal.retention"
            )),
            JournalEvent::MaintenanceFailed { problem } | JournalEvent::Degraded { problem } => self.degraded(problem),
        }
    }

    fn degraded(&self, problem: &str) {
        self.telemetry.record(JournalDegraded { problem });
    }
}
