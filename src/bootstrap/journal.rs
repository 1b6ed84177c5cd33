//! Opens the journal that the settings select, and connects it with the gate, the metrics and the log.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use jiff::Timestamp;
use tracing::{info, warn};

use crate::{
    config::JournalChoice,
    gate::GateReason,
    journal::{FileJournal, Journal, NoJournal, Notice, OpenError, RedisJournal},
    sync,
    telemetry::{
        ClosedGate, Telemetry,
        events::{JournalHolds, JournalWeakened, JournalWrote},
    },
};

/// A reconnect leaves a second consumer of this daemon for one or two counts; after this many there is another daemon.
const COUNTS_WITH_OTHERS: u32 = 3;

/// Opens the journal.
///
/// # Errors
/// If it cannot be opened; the error names the file and the remedy.
pub(super) fn open(choice: &JournalChoice, telemetry: &Telemetry) -> Result<Journal, OpenError> {
    let observer = JournalObserver { telemetry: telemetry.clone(), closed_gate: Mutex::default() };
    let on_notice = move |notice: Notice<'_>| observer.handle(notice);
    match choice {
        JournalChoice::File(settings) => {
            let journal = FileJournal::open(settings, Timestamp::now, on_notice)?;
            let dir = settings.dir.display();
            info!(%dir, "journal opened in the directory {dir}");
            Ok(Journal::File(journal))
        }
        JournalChoice::Redis(settings) => {
            info!("journal in Redis; connecting");
            Ok(Journal::Redis(RedisJournal::new(settings.clone(), on_notice)))
        }
        JournalChoice::None => {
            warn!("journal.kind = \"none\": after a crash or a lost connection, attempts in flight may be sent twice");
            Ok(Journal::None(NoJournal))
        }
    }
}

/// Completes the pending writes and releases the journal.
pub(super) async fn close(journal: &Journal) {
    match journal {
        Journal::File(file) => file.close().await,
        Journal::Redis(redis) => redis.close().await,
        Journal::None(_) => {}
    }
}

/// Runs the background work of the journal, such as lease renewal, until the journal is closed.
pub(super) async fn run(journal: Journal) {
    if let Journal::Redis(redis) = journal {
        redis.run().await;
    }
}

/// Returns a callback for the number of consumers of the queue. With another daemon on the queue, a journal `file` is not
/// complete, because it lacks the attempts of that daemon.
pub(super) fn on_consumer_count(journal: &Journal, telemetry: &Telemetry) -> Arc<dyn Fn(u32) + Send + Sync> {
    let (journal, telemetry, counts) = (journal.clone(), telemetry.clone(), AtomicU32::new(0));
    Arc::new(move |consumers| {
        let Journal::File(file) = &journal else { return };
        if consumers < 2 {
            counts.store(0, Ordering::Relaxed);
            return;
        }
        if counts.fetch_add(1, Ordering::Relaxed) + 1 == COUNTS_WITH_OTHERS {
            file.others_take_commands();
            let problem = &format!(
                "the queue has {consumers} consumers, but this journal records only the attempts of this daemon; after \
                 a crash, another daemon may send a command twice; run one daemon on the queue, or set journal.kind = \
                 \"redis\" for all of them"
            );
            telemetry.record(JournalWeakened { problem });
        }
    })
}

/// Turns the notices of a journal into the gate's reason, metrics and log lines.
struct JournalObserver {
    telemetry: Telemetry,
    /// Present while the journal is unavailable.
    closed_gate: Mutex<Option<ClosedGate>>,
}

impl JournalObserver {
    fn handle(&self, notice: Notice<'_>) {
        match notice {
            Notice::Wrote { took } => self.telemetry.record(JournalWrote { took }),
            Notice::Holds { entries, bytes } => self.telemetry.record(JournalHolds { entries, bytes }),
            Notice::Unavailable { why } => {
                let mut gate = sync::lock(&self.closed_gate);
                gate.get_or_insert_with(|| self.telemetry.close_gate(GateReason::Journal, why));
            }
            Notice::Available => drop(sync::lock(&self.closed_gate).take()),
            Notice::TornTail { path, bytes } => {
                let path = path.display();
                info!(%path, bytes, "removed {bytes} bytes at the end of {path}, an incomplete write before a crash");
            }
            Notice::Reindexed { path } => {
                let path = path.display();
                info!(%path, "rebuilt the missing or damaged index of {path}");
            }
            Notice::Gap { missing } => self.weakened(&format!(
                "segment {missing} is missing, and its records with it; commands that the broker redelivers count as \
                 possible duplicates"
            )),
            Notice::DroppedEarly { entries, newest } => self.weakened(&format!(
                "the journal is full; dropped {entries} records up to {newest} before their retention ended; raise \
                 journal.max_bytes, or lower journal.retention"
            )),
            Notice::Postponed { why } | Notice::Weakened { why } => self.weakened(why),
        }
    }

    fn weakened(&self, problem: &str) {
        self.telemetry.record(JournalWeakened { problem });
    }
}
