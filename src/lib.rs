//! Takes send commands from RabbitMQ, posts them to edna Chat Center and publishes what became of each.

pub mod admin;
pub mod amqp;
pub mod bootstrap;
pub mod cli;
pub mod config;
pub mod domain;
pub mod edna;
pub mod gate;
pub mod pipeline;
pub mod ports;
pub mod sandbox;
pub mod telemetry;
