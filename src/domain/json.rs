//! JSON that the daemon writes.

use serde::Serialize;

/// The value's bytes, without white space.
///
/// Writing cannot fail for the domain's own types: a `Vec` takes every write, all keys are strings, and no `Serialize`
/// of ours refuses a value. So there is no error that anybody could act on.
pub(super) fn bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
