//! What a command is, what an attempt proves and what follows. Pure: no I/O, no clock, no randomness;
//! bytes, time and dice come in as arguments, so everything here can be tested row by row.

pub mod command;
pub mod detail;
pub mod evidence;
pub mod message;
pub mod properties;
pub mod reason;
pub mod retry;
pub mod verdict;
