//! The integration tests: the real binary against a real broker, one module a capability.
#![cfg(test)] // By this attribute clippy knows that all of this is test code.

mod admin;
mod cli;
mod control;
mod faults;
mod gate;
mod journal;
mod malformed;
mod order;
mod outcomes;
mod privacy;
mod proxies;
mod rates;
mod samples;
mod sessions;
mod settle;
mod shutdown;
mod support;
mod support_works;
mod tiers;
mod topology;
mod wide;
