//! Opens the journal that the settings chose, and lets it keep the gate and tell what happens to it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use jiff::Timestamp;
use tracing::{info, warn};

use crate::{
    config::{self, Config},
    gate::{Gate, GateHold, GateReason},
    journal::{
        FileJournal, FileJournalSettings, Journal, NoJournal, Notice, OpenError, RedisJournal, RedisJournalSettings,
    },
    telemetry::{
        Telemetry,
        events::{JournalDegraded, JournalSize, JournalWritten},
    },
};

/// So many counts in a row with others mean that they are no remains of an old connection of ours.
const SURE: u32 = 3;

/// The journal, ready to be written.
///
/// # Errors
/// It cannot be opened: what, where, and what to do.
pub(super) fn open(config: &Config, gate: &Gate, telemetry: &Telemetry) -> Result<Journal, OpenError> {
    let keeper = Keeper { telemetry: telemetry.clone(), gate: gate.clone(), hold: Mutex::default() };
    let heed = move |notice: Notice<'_>| keeper.heed(notice);
    match &config.journal {
        config::Journal::File(file) => {
            let settings =
                FileJournalSettings { dir: file.dir.clone(), retention: file.retention, max_bytes: file.max_bytes };
            let journal = FileJournal::open(&settings, Timestamp::now, heed)?;
            let dir = file.dir.display();
            info!(%dir, "what is started and how it ends is written to the journal in {dir}");
            Ok(Journal::File(journal))
        }
        config::Journal::Redis(redis) => {
            let (url, prefix) = (redis.url.clone(), config.broker.prefix.clone());
            info!("what is started and how it ends is written to the journal in Redis");
            Ok(Journal::Redis(RedisJournal::new(
                RedisJournalSettings { url, prefix, retention: redis.retention },
                heed,
            )))
        }
        config::Journal::None => {
            warn!("no journal: after a crash or a lost connection, what was in flight may be sent twice");
            Ok(Journal::None(NoJournal))
        }
    }
}

/// Lets go of it, with all that it was asked before written.
pub(super) async fn close(journal: &Journal) {
    match journal {
        Journal::File(file) => file.close().await,
        Journal::Redis(redis) => redis.close().await,
        Journal::None(_) => {}
    }
}

/// What it must be doing all the time; ends only when it is closed.
pub(super) async fn keep(journal: Journal) {
    if let Journal::Redis(redis) = journal {
        redis.run().await;
    }
}

/// Told how many consumers the queue has: those of other daemons start what a journal of our own does not know of.
pub(super) fn watch_others(journal: &Journal, telemetry: &Telemetry) -> Arc<dyn Fn(u32) + Send + Sync> {
    let (journal, telemetry, seen) = (journal.clone(), telemetry.clone(), AtomicU32::new(0));
    Arc::new(move |consumers| {
        let Journal::File(file) = &journal else { return };
        if consumers < 2 {
            seen.store(0, Ordering::Relaxed);
            return;
        }
        if seen.fetch_add(1, Ordering::Relaxed) + 1 == SURE {
            file.others_take_commands();
            let problem = &format!(
                "the queue has {consumers} consumers, and this journal knows only what this daemon starts: after a \
                 crash of one, another may send its commands twice; run one daemon on the queue, or set journal.kind \
                 = \"redis\" for all of them"
            );
            telemetry.record(JournalDegraded { problem });
        }
    })
}

/// Turns what the journal tells into the gate's reason, metrics and log lines.
struct Keeper {
    telemetry: Telemetry,
    gate: Gate,
    /// Held while it cannot be written.
    hold: Mutex<Option<GateHold>>,
}

impl Keeper {
    fn heed(&self, notice: Notice<'_>) {
        match notice {
            Notice::Wrote { took } => self.telemetry.record(JournalWritten { took }),
            Notice::Holds { entries, bytes } => self.telemetry.record(JournalSize { entries, bytes }),
            Notice::Unavailable { why } => {
                let mut hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
                hold.get_or_insert_with(|| self.gate.close(GateReason::Journal, why));
            }
            Notice::Available => drop(self.hold.lock().unwrap_or_else(PoisonError::into_inner).take()),
            Notice::TornTail { path, bytes } => {
                let path = path.display();
                info!(%path, bytes, "the last {bytes} bytes of {path} were cut: a crash broke them off, and nobody relied on them");
            }
            Notice::Reindexed { path } => {
                let path = path.display();
                info!(%path, "the index of {path} was missing or damaged and is made anew");
            }
            Notice::Gap { missing } => self.weakened(&format!(
                "segment {missing} is missing, so what it knew is forgotten: what the broker delivers again counts as a \
                 possible duplicate"
            )),
            Notice::DroppedEarly { entries, newest } => self.weakened(&format!(
                "it is full, and {entries} sends up to {newest} are forgotten early: raise journal.max_bytes, or \
                 lower journal.retention"
            )),
            Notice::Postponed { why } | Notice::Weakened { why } => self.weakened(why),
        }
    }

    fn weakened(&self, problem: &str) {
        self.telemetry.record(JournalDegraded { problem });
    }
}
