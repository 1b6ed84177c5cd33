//! What the demo shows: progress while it runs, a table at the end.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::account::{Account, Row};
use crate::cli::output;

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// A live bar on a terminal, plain lines elsewhere, both on standard error.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    total: usize,
    last_line: Instant,
}

impl Progress {
    pub(super) fn new(total: usize) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} commands, {per_sec}, {elapsed}");
            let length = u64::try_from(total).unwrap_or(u64::MAX);
            let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
            style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
        });
        Self { bar, total, last_line: Instant::now() }
    }

    pub(super) fn at(&mut self, done: usize) {
        if let Some(bar) = &self.bar {
            bar.set_position(u64::try_from(done).unwrap_or(u64::MAX));
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            output::note(&format!("{done} of {} commands have reached their end", self.total));
        }
    }

    pub(super) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What the whole run came to.
pub(super) struct Summary<'a> {
    pub(super) account: &'a Account,
    pub(super) count: usize,
    pub(super) took: Duration,
    pub(super) metrics: String,
}

impl Summary<'_> {
    pub(super) fn print(&self) {
        output::line(&format!(
            "{:<10} {:<10} {:>8} {:>8} {:>9} {:>9}",
            "outcome", "reason", "expected", "reached", "p50", "p99"
        ));
        for row in self.account.rows() {
            let Row { outcome, reason, expected, reached, .. } = row;
            let (p50, p99) = (shown(row.p50), shown(row.p99));
            output::line(&format!("{outcome:<10} {reason:<10} {expected:>8} {reached:>8} {p50:>9} {p99:>9}"));
        }
        let rate = (f64::from(u32::try_from(self.count).unwrap_or(u32::MAX)) / self.took.as_secs_f64()).round();
        let (count, took) = (self.count, self.took.as_secs_f64());
        let (p50, p99) = (shown(self.account.percentile(50)), shown(self.account.percentile(99)));
        output::line(&format!(
            "\n{count} commands in {took:.1} s ({rate}/s); from command to event: p50 {p50}, p99 {p99}"
        ));
        output::line(&match self.account.wrong() {
            0 => "every command reached exactly one outcome, and each the expected one".to_owned(),
            wrong => format!("{wrong} commands did not reach exactly one outcome, the expected one"),
        });
        output::line(&self.metrics);
    }

    pub(super) fn print_json(&self) {
        let ms = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1_000.0);
        let rows = self.account.rows().into_iter().map(|row| -> Value {
            json!({"outcome": row.outcome, "reason": row.reason, "expected": row.expected, "reached": row.reached,
                   "p50Ms": ms(row.p50), "p99Ms": ms(row.p99)})
        });
        output::json(&json!({
            "count": self.count, "seconds": self.took.as_secs_f64(), "wrong": self.account.wrong(),
            "p50Ms": ms(self.account.percentile(50)), "p99Ms": ms(self.account.percentile(99)),
            "outcomes": rows.collect::<Vec<_>>(),
        }));
    }
}

fn shown(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.0} ms", time.as_secs_f64() * 1_000.0))
}
