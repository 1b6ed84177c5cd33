//! The state of a command's attempt loop, and its deadline.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    domain::{command::OnUncertain, journal::SendKey},
    pipeline::{command_in_hand::CommandInHand, context::PipelineContext, schedule_handle::ScheduleHandle},
    ports::{Clock, Ports},
};

/// The state of one command's attempt loop.
pub(super) struct AttemptContext<'a, P: Ports> {
    pub(super) pipeline: &'a PipelineContext<P>,
    pub(super) in_hand: &'a mut CommandInHand,
    pub(super) handle: &'a mut ScheduleHandle,
    pub(super) send_key: SendKey,
    /// No attempt starts after it.
    pub(super) deadline: Deadline,
    pub(super) on_uncertain: OnUncertain,
}

impl<'a, P: Ports> AttemptContext<'a, P> {
    pub(super) fn new(
        pipeline: &'a PipelineContext<P>,
        in_hand: &'a mut CommandInHand,
        handle: &'a mut ScheduleHandle,
    ) -> Self {
        let send_key = in_hand.send_key();
        let deadline = Deadline::of(in_hand, pipeline.settings.default_ttl);
        let on_uncertain = in_hand.command.on_uncertain.unwrap_or(pipeline.settings.on_uncertain);
        Self { pipeline, in_hand, handle, send_key, deadline, on_uncertain }
    }

    /// Whether the deadline will have passed after this wait.
    pub(super) fn expires_within(&self, wait: Duration) -> bool {
        self.deadline.is_before(self.pipeline.now(), wait)
    }
}

/// A command's deadline in wall-clock time, if it has one.
#[derive(Clone, Copy)]
pub(super) struct Deadline(Option<Timestamp>);

impl Deadline {
    /// The command's own, else the default counted from when the command was produced.
    fn of(in_hand: &CommandInHand, default_ttl: Option<Duration>) -> Self {
        let CommandInHand { command, state, .. } = in_hand;
        let by_default = || state.produced_at.unwrap_or(state.first_seen).checked_add(default_ttl?).ok();
        Self(command.expires_at.or_else(by_default))
    }

    fn is_before(self, now: Timestamp, wait: Duration) -> bool {
        let then = now.checked_add(wait);
        self.0.is_some_and(|deadline| then.is_ok_and(|then| then > deadline))
    }

    /// Resolves when the deadline has passed; never without one.
    pub(super) async fn passed(self, clock: &impl Clock) {
        let Some(deadline) = self.0 else { return std::future::pending().await };
        // Negative if it has passed already.
        if let Ok(left) = Duration::try_from(deadline.duration_since(clock.now())) {
            tokio::time::sleep(left).await;
        }
    }
}
