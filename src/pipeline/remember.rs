//! Writes to the journal what must not be forgotten, however long that takes.

use super::{Shared, attempt::End};
use crate::{
    domain::{
        journal::{RecordedOutcome, SendKey},
        retry,
    },
    gate::GateReason,
    ports::{Journal, JournalResult, Ports, Random},
};

/// What must not be forgotten of a send; see [`Journal`].
pub(super) enum Fact {
    /// The attempt is accounted for, and more may follow.
    Released {
        /// It may have reached the API.
        uncertain: bool,
    },
    /// The end.
    Ended(RecordedOutcome),
    /// The end's dead letter is stored.
    LetterStored,
}

impl<P: Ports> Shared<P> {
    /// Until it is durable. Whoever owns the journal keeps the gate closed while it cannot be written.
    pub(super) async fn remember(&self, send: &SendKey, fact: &Fact) {
        if self.write(send, fact).await.is_err() {
            // Boxed, for the sake of the many that never need it.
            Box::pin(self.write_at_last(send, fact)).await;
        }
    }

    async fn write_at_last(&self, send: &SendKey, fact: &Fact) {
        for failures in 1.. {
            self.gate.until(|gate| !gate.is_closed_by(GateReason::Journal)).await;
            // It may have failed again meanwhile, or not have closed the gate yet.
            tokio::time::sleep(retry::backoff(failures, self.ports.random().random_unit())).await;
            if self.write(send, fact).await.is_ok() {
                return;
            }
        }
    }

    async fn write(&self, send: &SendKey, fact: &Fact) -> JournalResult<()> {
        let journal = self.ports.journal();
        match fact {
            Fact::Released { uncertain } => journal.finish_attempt(send, *uncertain).await,
            Fact::Ended(ended) => journal.record_outcome(send, ended.clone()).await,
            Fact::LetterStored => journal.record_letter_stored(send).await,
        }
    }

    /// Waits until the journal can be asked again, unless the daemon shuts down meanwhile.
    pub(super) async fn journal_is_back(&self) -> Result<(), End> {
        self.wait(retry::backoff(1, self.ports.random().random_unit())).await?;
        tokio::select! {
            biased;
            () = self.drain.cancelled() => Err(End::Released),
            () = self.gate.until(|gate| !gate.is_closed_by(GateReason::Journal)) => Ok(()),
        }
    }
}
