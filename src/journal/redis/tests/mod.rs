//! Tests of the Redis journal: the contract on one server and on a Cluster, several owners, faults, errors.

mod contract;
mod deployments;
mod doubt;
mod errors;
mod faults;
mod fixture;
mod owners;
#[path = "../../../../tests/it/support/redis.rs"]
mod server;
