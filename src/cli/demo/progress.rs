//! The progress of the demo, on standard error.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::output;

/// The width 0 of `per_sec` is its number of decimals.
const TEMPLATE: &str = "{bar:40} {pos}/{len} commands, {per_sec:0}, {eta} left";
/// The interval of lines without a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(2);

/// A bar on a terminal, lines elsewhere.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    total: usize,
    last_line: Instant,
}

impl Progress {
    pub(super) fn new(total: usize) -> Self {
        let bar = stderr().is_terminal().then(|| bar(total));
        Self { bar, total, last_line: Instant::now() }
    }

    pub(super) fn update(&mut self, complete: usize) {
        if let Some(bar) = &self.bar {
            bar.set_position(u64::try_from(complete).unwrap_or(u64::MAX));
        } else if self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            output::print_note(&format!("{complete} of {} commands complete", self.total));
        }
    }

    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: usize) -> ProgressBar {
    let length = u64::try_from(total).unwrap_or(u64::MAX);
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(TEMPLATE) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
