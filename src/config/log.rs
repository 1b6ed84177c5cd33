//! `[log]`

use super::reader::Reader;
use crate::telemetry::logging;

/// Logging.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// A level or filter directives, accepted by [`logging::parse_level`].
    pub level: String,
    /// Text or JSON.
    pub format: logging::LogFormat,
    /// Whether the environment asks for text without colours (`NO_COLOR`, see no-color.org).
    pub no_color: bool,
}

impl LogSettings {
    pub(super) fn read(reader: &mut Reader, no_color: bool) -> Self {
        let level = reader.value("log.level", |text| {
            logging::parse_level(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
        });
        let format = reader.choice("log.format").unwrap_or(logging::LogFormat::Auto);
        Self { level: level.unwrap_or_default(), format, no_color }
    }
}
