//! Takes each delivery from the queue to its outcome: schedules it, makes its attempts and settles it.
//!
//! Knows no AMQP and no HTTP, only [`ports`](crate::ports). The work on a delivery ends in one of two ways: it is settled
//! (the broker has confirmed its outcome or its delayed copy, then it is acked) or requeued (it is not acked, and the
//! broker delivers it again).

mod api_health;
mod attempt;
mod command_in_hand;
mod context;
mod delivery_state;
mod dispatcher;
mod doubt_tracker;
mod journal_update;
mod outcome_claims;
mod prefetch;
mod probe_choice;
mod publish;
mod publish_turns;
mod resolution;
mod schedule_handle;
mod scheduler;
mod settings;
mod settle;
mod task;
#[cfg(test)]
mod tests;

pub use self::{
    dispatcher::{Drained, Pipeline},
    settings::{Concurrency, Order, PipelineSettings},
};
