//! Tests that every journal shares.

pub(crate) mod contract;
mod fixture;
pub(crate) mod model;
