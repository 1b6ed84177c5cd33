//! Serialization to JSON.

use serde::Serialize;

/// Large enough for most requests and events.
const INITIAL_CAPACITY_BYTES: usize = 512;

/// Returns the value as compact JSON.
///
/// Infallible for the domain's types: a `Vec` accepts every write, all keys are strings, and no `Serialize` of this
/// crate returns an error.
pub(super) fn to_bytes(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(INITIAL_CAPACITY_BYTES);
    match serde_json::to_writer(&mut bytes, value) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}
