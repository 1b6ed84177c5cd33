//! Tests of the pipeline with fake ports on a paused clock.

mod doubt;
mod fairness;
mod fake_journal;
mod fake_ports;
mod journal;
mod order;
mod outage_simulation;
mod outages;
mod outcomes;
mod port_support;
mod probes;
mod property;
mod publishing;
mod queue_model;
mod shutdown;
mod simulated_ports;
mod test_daemon;
mod tiers;
