//! The durable record of what was started and how it ended.

mod none;

pub use none::NoJournal;
