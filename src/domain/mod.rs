//! What a command is, what an attempt proves and what follows. Pure: no I/O, no clock, no randomness;
//! bytes, time and random_unit come in as arguments, so everything here can be tested row by row.

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
#[cfg(test)]
mod samples;
pub mod schedule;
pub mod tier;
pub mod verdict;
pub mod window;
