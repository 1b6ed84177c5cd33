//! The trait of all events.

use crate::telemetry::state::TelemetryState;

/// An event that [`crate::telemetry::Telemetry::record`] counts and logs.
pub trait TelemetryEvent {
    /// Updates the metrics and the health state.
    fn count(&self, state: &TelemetryState);

    /// Writes the log line. The message is readable alone; the fields repeat its facts.
    fn log(&self);
}

/// Whole milliseconds for a log field.
pub(super) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
