//! The pipeline in a world of fakes, on a paused clock.

mod daemon;
mod endings;
mod journal;
mod memory;
mod order;
mod property;
mod shutdown;
mod tiers;
mod trouble;
mod world;
