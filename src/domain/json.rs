//! JSON that the daemon writes.

use serde::Serialize;

/// Most requests and events fit.
const USUAL_BYTES: usize = 512;

/// The value's bytes, without white space.
///
/// Writing cannot fail for the domain's own types: a `Vec` takes every write, all keys are strings, and no `Serialize`
/// of ours refuses a value. So there is no error that anybody could act on.
pub(super) fn bytes(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    match serde_json::to_writer(&mut bytes, value) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}
