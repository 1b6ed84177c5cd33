//! How a message wraps its command: plain or as a CloudEvent, and in which encoding.

use super::malformed::{FieldError, FieldProblem};
use crate::domain::properties::Properties;

/// The format of a message.
pub(super) enum MessageFormat {
    /// The body is the command.
    Plain,
    /// The body is the command; CloudEvents attributes are headers.
    CloudEventsBinary,
    /// The body is a CloudEvent whose `data` is the command.
    CloudEventsStructured,
}

impl MessageFormat {
    /// Any content type but that of structured CloudEvents is read as JSON: client libraries set it as they like
    /// (`text/plain`, `application/octet-stream`), and the strict read decides whether a body is a command.
    ///
    /// One CloudEvents header suffices: an incomplete CloudEvent is not a plain command.
    pub(super) fn of(properties: &Properties) -> Self {
        let content_type = properties.content_type.as_deref().unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let is_attribute = |name: &str| name.starts_with("cloudEvents_") || name.starts_with("cloudEvents:");
        if media_type.eq_ignore_ascii_case("application/cloudevents+json") {
            Self::CloudEventsStructured
        } else if properties.headers.keys().any(|name| is_attribute(name)) {
            Self::CloudEventsBinary
        } else {
            Self::Plain
        }
    }
}

/// The content codings of IANA's HTTP registry and the usual compressions besides, each as one word.
const COMPRESSIONS: [&str; 20] = [
    "gzip",
    "gz",
    "deflate",
    "zlib",
    "br",
    "brotli",
    "zstd",
    "zst",
    "compress",
    "compressed",
    "bzip2",
    "bz2",
    "lz4",
    "lzma",
    "xz",
    "snappy",
    "zip",
    "dcb",
    "dcz",
    "pack200",
];

/// Rejects a `content_encoding` that names a compression, also as one word of several: `x-gzip`, `utf-8, gzip`. Any
/// other value is harmless: client libraries put a character set there.
pub(super) fn check_content_encoding(encoding: Option<&str>) -> Result<(), FieldError> {
    let words = encoding.unwrap_or_default().split(|c: char| !c.is_ascii_alphanumeric());
    let is_compression = |word: &str| COMPRESSIONS.iter().any(|name| word.eq_ignore_ascii_case(name));
    if words.into_iter().any(is_compression) {
        return Err(FieldError::at("content_encoding", FieldProblem::Compressed));
    }
    Ok(())
}

/// Returns the bytes as UTF-8 text. A byte order mark gets its own error, as the parser's does not name it.
pub(super) fn utf8(body: &[u8]) -> Result<&str, FieldError> {
    let text = str::from_utf8(body).map_err(|error| FieldProblem::NotUtf8(error.valid_up_to()));
    let text = text.map_err(FieldError::whole)?;
    if text.starts_with('\u{feff}') { Err(FieldError::whole(FieldProblem::ByteOrderMark)) } else { Ok(text) }
}
