//! The support keeps its promises. Who trusts a test trusts these first.

mod broker;
mod daemon;
mod eventually;
mod proxy;
mod queues;
mod redis;
