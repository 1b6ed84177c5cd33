//! Counts the consume sessions that end before their slow start is over, and reports the isolation.

use jiff::Timestamp;

use super::{error::SessionError, slow_start::SlowStart, topology::TopologyNames};
use crate::{
    ports::{Clock, SystemClock},
    telemetry::{
        IsolationReason, Telemetry,
        events::{IsolationEnded, IsolationStarted},
    },
};

/// Sessions in a row after which the next ones take one delivery at a time.
const MAX_ENDED: u32 = 2;
/// Sessions in a row that are replaced without backoff: twice RabbitMQ's delivery limit, after which the broker has
/// moved the harmful message to the dead letters.
const MAX_AT_ONCE: u32 = 40;

/// The consume sessions in a row that ended, by an error, before their slow start was over.
#[derive(Debug, Default)]
pub(super) struct EndedSessions {
    count: u32,
    /// When the first of them ended.
    since: Option<Timestamp>,
    last_problem: String,
    /// Whether the last session was one of them.
    includes_last: bool,
    reported: Option<IsolationReason>,
}

impl EndedSessions {
    /// Begins the slow start of the next session.
    pub(super) fn slow_start(&mut self) -> SlowStart {
        self.includes_last = false;
        SlowStart::new(self.count >= MAX_ENDED)
    }

    /// Whether the next session may begin without backoff.
    pub(super) const fn reconnects_at_once(&self) -> bool {
        self.includes_last && self.count >= MAX_ENDED && self.count <= MAX_AT_ONCE
    }

    /// Records that a session that had subscribed to the queue ended.
    pub(super) fn record_end(&mut self, error: &SessionError, names: &TopologyNames, telemetry: &Telemetry) {
        self.count = self.count.saturating_add(1);
        self.since.get_or_insert_with(|| SystemClock.now());
        self.last_problem = error.to_string();
        self.includes_last = true;
        if self.count >= MAX_ENDED && self.reported.is_none() {
            self.report(IsolationReason::SessionsEnded, names, telemetry);
        }
    }

    /// Reports the begin and the end of the isolation of a running session.
    pub(super) fn observe(&mut self, slow_start: &SlowStart, names: &TopologyNames, telemetry: &Telemetry) {
        if slow_start.is_isolated() && self.reported.is_none() {
            self.report(IsolationReason::Returned, names, telemetry);
        }
        if slow_start.is_over() && (self.since.is_some() || self.reported.is_some()) {
            if self.reported.is_some() {
                let (sessions, since, problem) = (self.count, self.since, &*self.last_problem);
                let (queue, dead) = (&names.commands(), &names.dead());
                telemetry.record(IsolationEnded { queue, dead, sessions, since, problem });
            }
            *self = Self::default();
        }
    }

    fn report(&mut self, reason: IsolationReason, names: &TopologyNames, telemetry: &Telemetry) {
        self.reported = Some(reason);
        telemetry.record(IsolationStarted { reason, queue: &names.commands(), sessions: self.count });
    }
}
