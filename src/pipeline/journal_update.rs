//! Journal writes that must succeed before the work on a command may go on.

use super::{command_in_hand::CommandInHand, context::PipelineContext, resolution::Resolution};
use crate::{
    domain::journal::{AttemptHistory, RecordedOutcome, SendKey},
    gate::GateReason,
    ports::{Journal, JournalResult, Ports},
};

/// A change of a send's journal record; see [`Journal`].
pub(super) enum JournalUpdate {
    /// The results of these attempts are known, and more may follow.
    AttemptFinished(AttemptHistory),
    /// The outcome.
    Outcome(RecordedOutcome),
    /// The outcome's dead letter is stored.
    LetterStored,
}

impl<P: Ports> PipelineContext<P> {
    /// Retries until the update is durable. While the journal cannot be written, it keeps the gate closed.
    pub(super) async fn record(&self, send_key: &SendKey, update: &JournalUpdate) {
        if self.try_record(send_key, update).await.is_err() {
            // Boxed: rarely needed, and it would enlarge the future of every task.
            Box::pin(self.retry_record(send_key, update)).await;
        }
    }

    /// Records the attempts of a command that leaves this process, if it knows all of them, so that the next delivery,
    /// perhaps to another daemon, is not in doubt. Without effect while the journal is unavailable: the doubt remains.
    pub(super) async fn record_unposted(&self, in_hand: &CommandInHand) {
        let Some(identity) = in_hand.lasting_identity() else { return };
        let is_first_receiver = !in_hand.delivery.redelivered || self.doubt_tracker.is_unposted(identity);
        let journal = self.ports.journal();
        // A complete journal needs no record, but it may be lost while the daemons are down.
        if is_first_receiver && (self.drain.is_cancelled() || !journal.is_complete()) {
            // The history: if the record of an attempt is lost, the command is not recorded as unposted.
            drop(journal.record_unposted(&in_hand.send_key(), in_hand.state.history()).await);
        }
    }

    async fn retry_record(&self, send_key: &SendKey, update: &JournalUpdate) {
        for failures in 1.. {
            self.gate.until(|gate| !gate.is_closed_by(GateReason::Journal)).await;
            // The journal may fail again, or may not have closed the gate yet.
            tokio::time::sleep(self.backoff(failures)).await;
            if self.try_record(send_key, update).await.is_ok() {
                return;
            }
        }
    }

    async fn try_record(&self, send_key: &SendKey, update: &JournalUpdate) -> JournalResult<()> {
        let journal = self.ports.journal();
        match update {
            JournalUpdate::AttemptFinished(history) => journal.finish_attempt(send_key, *history).await,
            JournalUpdate::Outcome(outcome) => journal.record_outcome(send_key, outcome.clone()).await,
            JournalUpdate::LetterStored => journal.record_letter_stored(send_key).await,
        }
    }

    /// Waits until the journal is available again; a shutdown ends the wait with [`Resolution::Requeued`].
    pub(super) async fn journal_available(&self) -> Result<(), Resolution> {
        self.sleep(self.backoff(1)).await?;
        tokio::select! {
            biased;
            () = self.drain.cancelled() => Err(Resolution::Requeued),
            () = self.gate.until(|gate| !gate.is_closed_by(GateReason::Journal)) => Ok(()),
        }
    }
}
