//! The pipeline in a world of fakes, on a paused clock.

mod endings;
mod shutdown;
mod trouble;
mod world;
