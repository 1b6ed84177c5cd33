//! The settings that one source gives, by path.

use std::collections::BTreeMap;

use super::{raw::RawValue, report::Mistake};

/// At most this many unknown names are listed per source; the rest is counted.
const MAX_LISTED: usize = 50;

/// Values by path. Each path is in the table of settings, or is the `_file` variant of a secret.
pub(super) type Layer = BTreeMap<String, RawValue>;

/// Whether a key can be shown, and joined by dots, without quotes.
pub(super) fn is_plain_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

pub(super) fn report_unknown(mistakes: &mut Vec<Mistake>, origin: &str, mut unknown: impl Iterator<Item = Mistake>) {
    mistakes.extend(unknown.by_ref().take(MAX_LISTED));
    let more = unknown.count();
    if more > 0 {
        mistakes.push(Mistake::new(origin, format!("has {more} more names that are not settings")));
    }
}
