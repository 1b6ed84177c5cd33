//! Log lines on standard error: text on a terminal, JSON elsewhere.
//!
//! No caller waits for standard error: lines go through a queue, see [`LogGuard`].
//!
//! No `log.level` can make a log leak a payload. Below `info` only this crate logs: libraries print frames, headers and
//! bodies at `debug` and `trace`, and their spans add fields to every line. lapin is off at every level: at `warn` it
//! prints returned messages whole. Its errors are returned to this crate, which logs them where it handles them.

mod queue;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal},
    panic::{self, PanicHookInfo},
    sync::Arc,
    time::Duration,
};

use prometheus::IntCounter;
use serde::Deserialize;
use tracing::{
    Level, Metadata, Subscriber, error, field,
    level_filters::LevelFilter,
    subscriber::{SetGlobalDefaultError, set_global_default},
};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, ParseError, filter_fn},
    fmt::MakeWriter,
    layer::{Filter, SubscriberExt},
};

use self::queue::LogQueue;

/// How long the end of the process waits for queued lines: standard error may be a pipe without a reader.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The target prefix of this crate's log lines.
const THIS_CRATE: &str = env!("CARGO_CRATE_NAME");

const LAPIN: &str = "lapin";

/// The setting `log.format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Human-readable text.
    Text,
    /// One flat JSON object per line: `timestamp` (RFC 3339), `level`, `target`, `message` and the fields.
    Json,
}

/// The format of log lines for a known destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStyle {
    /// Human-readable text.
    Text {
        /// With ANSI colours.
        colour: bool,
    },
    /// One flat JSON object per line.
    Json,
}

impl LogFormat {
    /// The style for a destination; `no_color` is whether the environment variable `NO_COLOR` disables colours.
    #[must_use]
    pub const fn style(self, is_terminal: bool, no_color: bool) -> LogStyle {
        match self {
            Self::Text => LogStyle::Text { colour: is_terminal && !no_color },
            Self::Auto if is_terminal => LogStyle::Text { colour: !no_color },
            Self::Auto | Self::Json => LogStyle::Json,
        }
    }
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A word without `=` that is no level. `EnvFilter` would take it for a module and silence everything else.
    #[error("log.level: {0:?} is not a level; use off, error, warn, info, debug, trace, or module=level")]
    Level(String),
    /// A directive that cannot be parsed.
    #[error("log.level: {0}; use a level such as info, or a list such as info,edna_courier=debug")]
    Directive(#[from] ParseError),
    /// Logging had already started.
    #[error("logging has already started")]
    Started(#[from] SetGlobalDefaultError),
    /// The system allows no further thread.
    #[error("cannot start the thread that writes log lines: {0}; raise the limit of processes")]
    Thread(#[from] io::Error),
}

/// The queue of log lines, which a thread of its own writes to standard error. Lines that do not fit are dropped. Dropping
/// the guard waits for the queued lines, at most a second.
#[derive(Debug)]
#[must_use = "dropping it waits for the queued lines"]
pub struct LogGuard(Arc<LogQueue>);

impl LogGuard {
    /// Counts the lines that are dropped from now on; only the first call has an effect.
    pub(super) fn count_dropped_in(&self, counter: IntCounter) {
        self.0.count_dropped_in(counter);
    }

    /// Writes a line of plain text after the queued ones.
    pub fn print(&self, text: &str) {
        self.0.push(format!("{text}\n").as_bytes());
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.flush(FLUSH_TIMEOUT);
    }
}

/// Parses the setting `log.level`: a level, or a comma-separated list of levels and `module=level`. Empty means `info`.
///
/// # Errors
/// [`LogError::Level`] or [`LogError::Directive`].
pub fn parse_level(level: &str) -> Result<EnvFilter, LogError> {
    let is_known = |word: &str| word.is_empty() || word.contains(['=', '[']) || word.parse::<LevelFilter>().is_ok();
    if let Some(word) = level.split(',').map(str::trim).find(|word| !is_known(word)) {
        return Err(LogError::Level(word.to_owned()));
    }
    Ok(EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse(level)?)
}

/// Starts logging to standard error for the whole process. Panics are logged, too: the default hook would wait for a reader.
///
/// # Errors
/// If `level` is invalid, see [`parse_level`], logging has already started, or its thread cannot be started.
pub fn init(level: &str, format: LogFormat, no_color: bool) -> Result<LogGuard, LogError> {
    let style = format.style(io::stderr().is_terminal(), no_color);
    let queue = LogQueue::start(io::stderr())?;
    set_global_default(subscriber(level, style, queue.clone())?)?;
    panic::set_hook(Box::new(log_panic));
    Ok(LogGuard(queue))
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("no message");
    let location = panic.location().map(field::display);
    // As the default hook does, only if RUST_BACKTRACE asks for it.
    let backtrace = Some(Backtrace::capture()).filter(|trace| trace.status() == BacktraceStatus::Captured);
    error!(location, backtrace = backtrace.map(field::display), "a thread panicked, which is a bug: {message}");
}

/// The subscriber that [`init`] installs, with any writer.
///
/// # Errors
/// If `level` is invalid, see [`parse_level`].
pub fn subscriber<W>(
    level: &str,
    style: LogStyle,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + use<W>, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // Reporting a failed write on standard error would panic if standard error is closed; the line is dropped.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    let lines = match style {
        LogStyle::Text { colour } => lines.with_ansi(colour).boxed(),
        LogStyle::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    Ok(Registry::default().with(lines.with_filter(parse_level(level)?.and(payload_filter()))))
}

fn payload_filter<S>() -> impl Filter<S> {
    filter_fn(is_free_of_payloads).with_max_level_hint(LevelFilter::TRACE)
}

fn is_free_of_payloads(line: &Metadata<'_>) -> bool {
    let is_from = |module: &str| {
        line.target().strip_prefix(module).is_some_and(|inner| inner.is_empty() || inner.starts_with("::"))
    };
    is_from(THIS_CRATE) || (line.is_event() && *line.level() <= Level::INFO && !is_from(LAPIN))
}

#[cfg(test)]
mod tests;
