//! The contract that every journal keeps.

pub(crate) mod contract;
