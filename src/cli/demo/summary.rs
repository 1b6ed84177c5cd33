//! The result of the demo.

use std::time::Duration;

use serde_json::{Value, json};

use super::tracker::{OutcomeRow, OutcomeTracker};
use crate::cli::output;

/// All outcomes of a demo, and how long they took.
pub(super) struct Summary<'a> {
    pub(super) tracker: &'a OutcomeTracker,
    pub(super) count: usize,
    pub(super) elapsed: Duration,
    /// The last line, about the metrics page.
    pub(super) note: String,
}

impl Summary<'_> {
    pub(super) fn print(&self) {
        output::print(&format!(
            "{:<10} {:<10} {:>8} {:>8} {:>9} {:>9}",
            "outcome", "reason", "expected", "reached", "p50", "p99"
        ));
        for row in self.tracker.rows() {
            let OutcomeRow { outcome, reason, expected, reached, .. } = row;
            let (p50, p99) = (format_ms(row.p50), format_ms(row.p99));
            output::print(&format!("{outcome:<10} {reason:<10} {expected:>8} {reached:>8} {p50:>9} {p99:>9}"));
        }
        let (count, seconds) = (self.count, self.elapsed.as_secs_f64());
        let rate = f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / seconds;
        let (p50, p99) = (format_ms(self.tracker.percentile(50)), format_ms(self.tracker.percentile(99)));
        output::print(&format!(
            "\n{count} commands in {seconds:.1} s ({rate:.0}/s); from command to event: p50 {p50}, p99 {p99}"
        ));
        output::print(&match self.tracker.wrong() {
            0 => "every command reached exactly one outcome, the expected one".to_owned(),
            wrong => format!("{wrong} commands did not reach exactly one outcome, the expected one"),
        });
        output::print(&self.note);
    }

    pub(super) fn print_json(&self) {
        let ms = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1_000.0);
        let rows = self.tracker.rows().into_iter().map(|row| -> Value {
            json!({"outcome": row.outcome, "reason": row.reason, "expected": row.expected, "reached": row.reached,
                   "p50Ms": ms(row.p50), "p99Ms": ms(row.p99)})
        });
        output::print_json(&json!({
            "count": self.count, "seconds": self.elapsed.as_secs_f64(), "wrong": self.tracker.wrong(),
            "p50Ms": ms(self.tracker.percentile(50)), "p99Ms": ms(self.tracker.percentile(99)),
            "outcomes": rows.collect::<Vec<_>>(),
        }));
    }
}

fn format_ms(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.0} ms", time.as_secs_f64() * 1_000.0))
}
