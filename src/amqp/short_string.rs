//! AMQP short strings.

use lapin::types::ShortString;

/// Converts `text` to a short string, or to the empty one if it is longer than 255 bytes.
///
/// No caller passes a longer text: prefix, tier, outcome, channel type and `reply_to` are bounded far below that.
pub(crate) fn short_string(text: impl Into<String>) -> ShortString {
    ShortString::try_new(text).unwrap_or_default()
}
