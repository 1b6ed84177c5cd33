//! Events of the isolation: commands are taken one at a time, as one of them may end each session that receives it.

use jiff::Timestamp;
use tracing::{error, info, warn};

use super::event::TelemetryEvent;
use crate::telemetry::{broker_status::IsolationReason, state::TelemetryState};

/// Commands are taken one at a time from now on.
#[derive(Clone, Copy, Debug)]
pub struct IsolationStarted<'a> {
    /// Why.
    pub reason: IsolationReason,
    /// The queue.
    pub queue: &'a str,
    /// Sessions in a row that ended early, as far as this process has seen.
    pub sessions: u32,
}

impl TelemetryEvent for IsolationStarted<'_> {
    fn count(&self, state: &TelemetryState) {
        state.health.set_isolation(Some(self.reason));
    }

    fn log(&self) {
        let Self { reason, queue, sessions } = *self;
        let (reason, why) = (reason.as_str(), reason.explanation());
        warn!(reason, queue, sessions, "taking commands from queue {queue:?} one at a time ({reason}): {why}");
    }
}

/// Commands are taken at full speed again.
#[derive(Clone, Copy, Debug)]
pub struct IsolationEnded<'a> {
    /// The queue.
    pub queue: &'a str,
    /// The queue of dead letters.
    pub dead: &'a str,
    /// Sessions in a row that ended early.
    pub sessions: u32,
    /// When the first of them ended.
    pub since: Option<Timestamp>,
    /// The error of the last one.
    pub problem: &'a str,
}

/// From this many sessions on, a message has ended them: the broker moves it to the dead letters after 20. Fewer may have
/// ended for another reason.
const MIN_HARMED_SESSIONS: u32 = 10;

impl TelemetryEvent for IsolationEnded<'_> {
    fn count(&self, state: &TelemetryState) {
        state.health.set_isolation(None);
        state.health.record_progress();
    }

    fn log(&self) {
        let Self { queue, dead, sessions, since, problem } = *self;
        let Some(since) = since else {
            return info!(queue, "taking commands from queue {queue:?} at full speed again");
        };
        if sessions < MIN_HARMED_SESSIONS {
            return warn!(
                queue,
                sessions,
                %since,
                problem,
                "{sessions} consume sessions on queue {queue:?} ended in a row since {since:.3}, the last with: {problem}; \
                 full speed again"
            );
        }
        error!(
            queue,
            sessions,
            %since,
            problem,
            "{sessions} consume sessions on queue {queue:?} ended in a row since {since:.3}, the last with: {problem}; \
             full speed again. If one of their messages could not be decoded, the broker has moved it to queue \
             {dead:?} with key poison and header x-first-death-reason = delivery_limit: find its producer"
        );
    }
}
