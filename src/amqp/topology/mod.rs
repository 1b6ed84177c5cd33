//! The exchanges, queues and bindings of the contract: one table of data, and what is made of it.
//!
//! `model` is the table. `ask` puts single questions to the broker; `verify` compares the table with what is there,
//! `declare` makes what lacks, `export` writes it as the broker's definitions. Nothing here ever deletes.

mod ask;
mod declare;
mod export;
mod model;
mod names;
mod report;
mod verify;

pub(super) use self::ask::{Asker, refusal};
pub use self::{
    model::{Argument, Arguments, Binding, Exchange, Kind, Queue, Topology},
    names::Names,
    report::{Finding, State},
};
