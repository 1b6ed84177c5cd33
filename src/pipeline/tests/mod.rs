//! Tests of the pipeline with fake ports on a paused clock.

mod fake_journal;
mod fake_ports;
mod journal;
mod order;
mod outages;
mod outcomes;
mod property;
mod shutdown;
mod test_daemon;
mod tiers;
