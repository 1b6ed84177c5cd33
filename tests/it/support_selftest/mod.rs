//! Tests of the test support itself.

mod broker;
mod daemon;
mod eventually;
mod proxy;
mod queues;
mod redis;
