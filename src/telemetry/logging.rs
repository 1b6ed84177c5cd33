//! Log lines on standard error: text for a person at a terminal, JSON for everything else.
//!
//! No configuration can make a log leak a payload. Only our own code may speak below `info`: at `debug` and `trace` the
//! libraries print frames, headers and bodies, and their spans would add fields to our lines. And lapin is off: at `warn`
//! it prints each returned message whole, and its errors reach us as values, which are told once, where they are handled.

use std::io::{self, IsTerminal};

use serde::Deserialize;
use tracing::{
    Level, Metadata, Subscriber,
    level_filters::LevelFilter,
    subscriber::{SetGlobalDefaultError, set_global_default},
};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, ParseError, filter_fn},
    fmt::MakeWriter,
    layer::{Filter, SubscriberExt},
};

/// The target of all of our own lines.
const OURS: &str = env!("CARGO_CRATE_NAME");

/// The AMQP client.
const LAPIN: &str = "lapin";

/// The setting `log.format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// A line for a person.
    Text,
    /// One flat object a line: `timestamp` (RFC 3339), `level`, `target`, `message`, and the fields.
    Json,
}

/// How lines look, once it is known where they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A line for a person.
    Text {
        /// With colours.
        colour: bool,
    },
    /// One flat object a line.
    Json,
}

impl Format {
    /// The style for a destination; `plain` is the wish of the environment for no colours.
    #[must_use]
    pub const fn style(self, is_terminal: bool, plain: bool) -> Style {
        match self {
            Self::Text => Style::Text { colour: is_terminal && !plain },
            Self::Auto if is_terminal => Style::Text { colour: !plain },
            Self::Auto | Self::Json => Style::Json,
        }
    }
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A word without `=` would count as the name of a module and silence everything else.
    #[error("log.level: {0:?} is not a level; use off, error, warn, info, debug, trace, or module=level")]
    Level(String),
    /// The directives can't be parsed.
    #[error("log.level: {0}; use a level such as info, or a list such as info,edna_courier=debug")]
    Directive(#[from] ParseError),
    /// It had started before.
    #[error("logging has started already")]
    Started(#[from] SetGlobalDefaultError),
}

/// Parses the setting `log.level`: a level, or a comma-separated list of levels and `module=level`. Empty means `info`.
///
/// # Errors
/// [`LogError::Level`] and [`LogError::Directive`] tell what is wrong and what to write.
pub fn parse_level(level: &str) -> Result<EnvFilter, LogError> {
    let is_known = |word: &str| word.is_empty() || word.contains(['=', '[']) || word.parse::<LevelFilter>().is_ok();
    if let Some(word) = level.split(',').map(str::trim).find(|word| !is_known(word)) {
        return Err(LogError::Level(word.to_owned()));
    }
    Ok(EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse(level)?)
}

/// Starts logging to standard error for the whole process.
///
/// # Errors
/// When `level` is wrong, see [`parse_level`], or logging has started before.
pub fn init(level: &str, format: Format, no_color: bool) -> Result<(), LogError> {
    let style = format.style(io::stderr().is_terminal(), no_color);
    set_global_default(subscriber(level, style, io::stderr)?)?;
    Ok(())
}

/// What [`init`] installs, on any writer.
///
/// # Errors
/// When `level` is wrong, see [`parse_level`].
pub fn subscriber<W>(level: &str, style: Style, writer: W) -> Result<impl Subscriber + Send + Sync + use<W>, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // A line that can't be written is lost: to complain on a closed standard error would panic.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    let lines = match style {
        Style::Text { colour } => lines.with_ansi(colour).boxed(),
        Style::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    Ok(Registry::default().with(lines.with_filter(parse_level(level)?.and(silencer()))))
}

fn silencer<S>() -> impl Filter<S> {
    filter_fn(may_speak).with_max_level_hint(LevelFilter::TRACE)
}

fn may_speak(line: &Metadata<'_>) -> bool {
    let is_from = |module: &str| {
        line.target().strip_prefix(module).is_some_and(|inner| inner.is_empty() || inner.starts_with("::"))
    };
    let is_harmless = line.is_event() && *line.level() <= Level::INFO && !is_from(LAPIN);
    is_from(OURS) || is_harmless
}

#[cfg(test)]
mod tests;
