//! Events: the message that reports a command's outcome.
//!
//! # Invariants
//!
//! - The event's id is a function of command id, replay and outcome, so a consumer that drops known ids sees each
//!   outcome once.
//! - An event contains no text, no address and no token; `metadata` is the producer's own.
//! - The journal records the JSON as published; a repeat differs from it in `repeated` only.

mod content;
mod message;
mod response;

pub use self::{
    content::{CommandResult, Event, EventContext, Failure, Timing, event_id},
    message::EventFormat,
    response::{Response, UnreadReason},
};

#[cfg(test)]
mod tests;
