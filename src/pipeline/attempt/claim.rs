//! Claims an attempt in the journal, and releases a claim that was not used.

use std::time::Duration;

use super::context::AttemptContext;
use crate::{
    domain::{command::OnUncertain, journal::Record},
    pipeline::{
        journal_update::JournalUpdate,
        resolution::{AttemptExit, Resolution, TierDelay},
    },
    ports::{Journal, Ports},
    telemetry::events::AttemptOrphaned,
};

/// The journal's answer to a request for an attempt.
pub(super) enum ClaimResult {
    /// The attempt is on record as started, and may be made.
    Granted,
    /// The same, but an earlier daemon stopped during its attempt, which may have reached the API.
    Orphaned,
    /// The journal is unavailable.
    Unavailable,
}

impl<P: Ports> AttemptContext<'_, P> {
    /// Records that an attempt starts, unless the journal holds an outcome or an attempt in progress.
    pub(super) async fn claim(&mut self) -> Result<ClaimResult, AttemptExit> {
        let journal = self.pipeline.ports.journal();
        let Ok(record) = journal.start_attempt(&self.send_key).await else { return Ok(ClaimResult::Unavailable) };
        match record {
            Record::Finished(outcome) if !outcome.letter_pending => {
                return Err(Resolution::AlreadyFinished(outcome, None).into());
            }
            Record::Finished(outcome) => {
                return Err(match self.pipeline.dead_letter_claims.try_claim(&self.send_key) {
                    Some(claim) => Resolution::AlreadyFinished(outcome, Some(claim)).into(),
                    // Another task is publishing the letter.
                    None => AttemptExit::Delay(TierDelay::SHORTEST),
                });
            }
            // Its owner publishes the outcome; this copy returns for it.
            Record::InProgress => return Err(AttemptExit::Delay(TierDelay::SHORTEST)),
            Record::Orphaned => return Ok(self.orphaned()),
            Record::Waiting { uncertain: true } => self.in_hand.state.mark_uncertain(),
            Record::Waiting { uncertain: false } => {}
            // An earlier delivery may have been posted without a record.
            Record::Unknown if self.in_hand.delivery.redelivered && !journal.is_complete() => {
                if journal.is_enabled() && self.on_uncertain == OnUncertain::Park {
                    return Ok(self.orphaned());
                }
                self.in_hand.state.mark_uncertain();
            }
            Record::Unknown => {}
        }
        Ok(ClaimResult::Granted)
    }

    fn orphaned(&mut self) -> ClaimResult {
        self.in_hand.state.attempt_orphaned();
        self.pipeline.telemetry.record(AttemptOrphaned { command_id: &self.in_hand.command.id });
        ClaimResult::Orphaned
    }

    /// Releases the claim of an attempt that was not posted.
    pub(super) async fn abandon_claim(&mut self) -> Result<(), AttemptExit> {
        self.finish_attempt().await;
        if self.expires_within(Duration::ZERO) { Err(AttemptExit::DeadlinePassed) } else { Ok(()) }
    }

    /// Records that the results of all attempts so far are known, and more may follow.
    pub(super) async fn finish_attempt(&self) {
        let uncertain = self.in_hand.state.is_uncertain();
        self.pipeline.record(&self.send_key, &JournalUpdate::AttemptFinished { uncertain }).await;
    }
}
