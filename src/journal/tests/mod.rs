//! Tests that every journal shares.

pub(crate) mod contract;
