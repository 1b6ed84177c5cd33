//! Integration tests: the real binary against a real broker, one module per capability.
#![cfg(test)] // Makes clippy treat this target as test code.
#![expect(clippy::disallowed_methods, reason = "tests spawn servers, read the clock and the environment")]

mod admin;
mod broker_letters;
mod cli;
mod control;
mod doubt;
mod faults;
mod gate;
mod harmful_messages;
mod high_concurrency;
mod journal;
mod large_bodies;
mod malformed;
mod order;
mod outcomes;
mod privacy;
mod proxies;
mod rates;
mod samples;
mod sessions;
mod settle;
mod shared_journal;
mod shutdown;
mod standby;
mod stuck_tiers;
mod support;
mod support_selftest;
mod tiers;
mod topology;
mod topology_policies;
mod unread_log;
