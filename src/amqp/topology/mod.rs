//! The exchanges, queues and bindings of the contract: one table of data, and the operations on it.
//!
//! `model` is the table. `probe` sends single requests to the broker; `verify` compares the table with the broker's
//! objects, `declare` creates missing ones, `export` writes the table as RabbitMQ definitions. Nothing here deletes.

mod declare;
mod difference;
mod effective;
mod export;
mod finding;
mod guarantee;
mod model;
mod names;
mod probe;
mod verify;

pub use self::{
    finding::{Finding, FindingState},
    model::{ArgumentValue, Binding, DeclareArguments, Exchange, ExchangeType, Queue, Topology},
    names::TopologyNames,
};
pub(super) use self::{
    probe::{QueueCounts, TopologyProbe, channel_refusal},
    verify::Inspection,
};
