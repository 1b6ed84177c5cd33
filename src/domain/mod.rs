//! The rules: decoding, the decision table, order and pace, events and dead letters.
//!
//! Pure: no I/O, no clock, no randomness, no async. Bytes, time and random numbers are arguments, so that every rule is
//! tested row by row, and none can fail for a reason outside its arguments.

pub mod command;
pub mod dead_letter;
pub mod decode;
pub mod delayed;
pub mod detail;
pub mod event;
pub mod evidence;
pub mod journal;
mod json;
pub mod limit;
pub mod message;
pub mod properties;
pub mod rate;
pub mod reason;
pub mod request;
pub mod retry;
pub mod returns;
#[cfg(test)]
mod samples;
pub mod schedule;
pub mod tier;
pub mod tier_watch;
pub mod verdict;
pub mod window;
