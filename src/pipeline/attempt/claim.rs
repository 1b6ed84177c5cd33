//! Claims an attempt in the journal, and releases a claim that was not used.

use std::time::Duration;

use super::context::AttemptContext;
use crate::{
    domain::{
        command::OnUncertain,
        journal::{Doubt, Record},
    },
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
        let is_first_receiver = self.pipeline.doubt_tracker.claim(self.in_hand.identity());
        match record {
            Record::Finished(outcome) if outcome.is_unpublished() => Box::pin(self.claim_outcome()).await,
            Record::Finished(outcome) => Err(Resolution::AlreadyFinished(outcome, None).into()),
            // Its owner publishes the outcome; this copy returns for it.
            Record::InProgress => Err(self.delay_beside_attempt()),
            Record::Orphaned { counted } => {
                self.in_hand.state.restore_attempts(counted);
                Ok(self.orphaned())
            }
            Record::Waiting(history) => {
                self.in_hand.state.restore_history(history, journal.has_newest_records());
                Ok(if self.in_hand.state.is_uncertain() { self.claim_uncertain() } else { ClaimResult::Granted })
            }
            // Every attempt is on record, so that of an uncertain copy is lost.
            Record::Unknown if self.in_hand.state.is_uncertain() || self.is_in_doubt(is_first_receiver) => {
                Ok(self.claim_uncertain())
            }
            Record::Unknown => Ok(ClaimResult::Granted),
        }
    }

    /// Claims the publish of a recorded outcome. Reads the record again once the claim is held: another daemon, or the task
    /// of a lost session, may have published the outcome since it was read.
    async fn claim_outcome(&mut self) -> Result<ClaimResult, AttemptExit> {
        let Some(claim) = self.pipeline.outcome_claims.try_claim(self.in_hand.identity()) else {
            // Another task is publishing it.
            return Err(self.delay_beside_attempt());
        };
        match self.pipeline.ports.journal().lookup(&self.send_key).await {
            Ok(Record::Finished(outcome)) => {
                let claim = outcome.is_unpublished().then_some(claim);
                Err(Resolution::AlreadyFinished(outcome, claim).into())
            }
            // Unavailable, or a record that is lost: to be claimed again.
            Ok(_) | Err(_) => Ok(ClaimResult::Unavailable),
        }
    }

    /// The copy may return after its record is lost, and after the doubt about that has ended: without a record the
    /// attempt, which may have reached the API, makes it uncertain.
    fn delay_beside_attempt(&mut self) -> AttemptExit {
        self.in_hand.state.mark_uncertain();
        AttemptExit::Delay(TierDelay::SHORTEST)
    }

    /// Whether an earlier delivery of this command without a record may have been posted.
    fn is_in_doubt(&self, is_first_receiver: bool) -> bool {
        let proves_nothing = || match self.pipeline.ports.journal().doubt() {
            Doubt::None => false,
            Doubt::SoleOwner => !is_first_receiver,
            Doubt::SharedQueue => true,
        };
        self.in_hand.delivery.redelivered && (self.in_hand.has_generated_id || proves_nothing())
    }

    /// An earlier attempt may have reached the API: with `park` there is no other. Without a journal nothing can be
    /// parked, as every redelivered command would be.
    fn claim_uncertain(&mut self) -> ClaimResult {
        if self.pipeline.ports.journal().is_enabled() && self.on_uncertain == OnUncertain::Park {
            return self.orphaned();
        }
        self.in_hand.state.mark_uncertain();
        ClaimResult::Granted
    }

    /// Records that an earlier delivery may have been posted, before the broker may deliver the command to anybody else.
    pub(super) async fn record_doubt(&self) -> Result<(), AttemptExit> {
        let journal = self.pipeline.ports.journal();
        while journal.record_doubt(&self.send_key).await.is_err() {
            self.pipeline.journal_available().await?;
        }
        self.pipeline.doubt_tracker.doubt_recorded(journal);
        Ok(())
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
        let history = self.in_hand.state.history();
        self.pipeline.record(&self.send_key, &JournalUpdate::AttemptFinished(history)).await;
    }
}
