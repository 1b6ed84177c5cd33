//! The broker: two supervised connections, one that consumes and settles, one that publishes and awaits confirms.
//!
//! They are apart because a broker in need blocks connections that publish, and would block our acks with them.
//! Neither uses the client library's own recovery: any error, ended stream or missed deadline drops the whole session,
//! and a new one with a new generation takes its place.

mod acks;
mod census;
mod connect;
mod consumer;
mod error;
mod flight;
mod properties;
mod publisher;
mod returns;
mod subscription;
mod supervise;
pub mod topology;

pub use connect::Broker;
pub use consumer::{Acks, Consumer, Deliveries, Others};
pub use error::SessionError;
pub use publisher::Publisher;
