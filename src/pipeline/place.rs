//! A command's place in the schedule, as its own task sees it: it waits for what the dispatcher grants, and tells it what
//! became of that.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::keeper::Probe;
use crate::domain::{limit::Sample, schedule::Ticket};

/// What a task tells the dispatcher.
pub(super) enum Word {
    /// It wants another attempt.
    Again(Ticket, oneshot::Sender<Grant>),
    /// It must wait in this tier, and all behind it.
    SendAway(Ticket, usize, oneshot::Sender<Grant>),
    /// Its copy is stored in the tier that was granted.
    Parked(Ticket),
    /// It is out of hand for good.
    Left(Ticket),
    /// It is in the broker's hand again, which gives it out once more.
    Released(Ticket),
    /// An attempt is over.
    Answered(Duration, Sample),
}

/// What the dispatcher grants.
pub(super) enum Grant {
    /// One attempt.
    Attempt(Permission),
    /// A copy in this tier, by its place among them.
    Park(usize),
    /// Nothing more: the broker hands the command out again.
    Release,
}

/// The right to make one attempt, held until its answer is judged.
pub(super) struct Permission {
    words: mpsc::UnboundedSender<Word>,
    probe: Option<Probe>,
    answer: (Duration, Sample),
}

impl Permission {
    pub(super) fn new(words: mpsc::UnboundedSender<Word>, probe: Option<Probe>) -> Self {
        Self { words, probe, answer: (Duration::ZERO, Sample::Neutral) }
    }

    /// Whether the attempt tries if the gate could be open.
    pub(super) const fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// What the attempt showed of the API's load.
    pub(super) const fn answered(&mut self, took: Duration, sample: Sample) {
        self.answer = (took, sample);
    }
}

impl Drop for Permission {
    fn drop(&mut self) {
        // The probe first: whoever hears of the answer may be the next one.
        drop(self.probe.take());
        let (took, sample) = self.answer;
        // Nobody counts any more after the end.
        let _ = self.words.send(Word::Answered(took, sample));
    }
}

/// The place. Dropped, it is given up for good.
pub(super) struct Place {
    ticket: Ticket,
    words: mpsc::UnboundedSender<Word>,
    granted: oneshot::Receiver<Grant>,
    /// What is told of the ticket in the end.
    farewell: fn(Ticket) -> Word,
}

impl Place {
    /// With what the dispatcher keeps to grant by.
    pub(super) fn new(ticket: Ticket, words: mpsc::UnboundedSender<Word>) -> (Self, oneshot::Sender<Grant>) {
        let (grant, granted) = oneshot::channel();
        (Self { ticket, words, granted, farewell: Word::Left }, grant)
    }

    /// Waits for what was asked for; at first, for an attempt.
    pub(super) async fn granted(&mut self) -> Grant {
        (&mut self.granted).await.unwrap_or(Grant::Release)
    }

    /// Asks for another attempt.
    pub(super) fn again(&mut self) {
        let ticket = self.ticket;
        self.ask(|grant| Word::Again(ticket, grant));
    }

    /// Asks for a tier; the grant may name another one.
    pub(super) fn send_away(&mut self, tier: usize) {
        let ticket = self.ticket;
        self.ask(|grant| Word::SendAway(ticket, tier, grant));
    }

    /// The copy in the tier is stored.
    pub(super) fn parked(mut self) {
        self.farewell = Word::Parked;
    }

    /// Its session is lost.
    pub(super) fn released(mut self) {
        self.farewell = Word::Released;
    }

    fn ask(&mut self, word: impl FnOnce(oneshot::Sender<Grant>) -> Word) {
        let (grant, granted) = oneshot::channel();
        self.granted = granted;
        let _ = self.words.send(word(grant));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.words.send((self.farewell)(self.ticket));
    }
}
