//! One run of the daemon: sends the commands, awaits their outcomes, and stops the daemon. Every wait has a timeout.

use std::{
    future::Future,
    pin::{Pin, pin},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{backend::Backend, post_check, summary::Summary, tracker::SharedTracker, wait};
use crate::{
    bootstrap::App,
    cli::{Exit, exit::failed, output, signals::StopSignals},
    config::Config,
    pipeline::Drained,
    sandbox::{ReceivedFilter, Sandbox},
    telemetry::logging::LogGuard,
};

/// For the last messages after the daemon has stopped.
const LAST_MESSAGES_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) const INTERRUPTED: &str = "interrupted";
const DAEMON_STOPPED: &str = "the daemon stopped unexpectedly; see its log above";

/// The parts of a demo other than the daemon.
pub(super) struct DemoSession<'a> {
    pub(super) count: usize,
    pub(super) keep: bool,
    pub(super) json: bool,
    pub(super) sandbox: &'a Sandbox,
    pub(super) backend: &'a Backend,
    pub(super) log: &'a LogGuard,
}

/// The shutdown of the daemon.
#[derive(Default)]
struct DaemonShutdown {
    /// Cancelled to stop the daemon.
    requested: CancellationToken,
    /// Cancelled after the drain, when the daemon has published everything.
    finished: CancellationToken,
}

/// Resolves with `Ok` only after both end markers.
trait Consuming: Future<Output = Result<(), String>> {}
impl<F: Future<Output = Result<(), String>>> Consuming for F {}

impl DemoSession<'_> {
    /// Runs the daemon and stops it in any case.
    pub(super) async fn run(&self, config: Config, signals: &mut StopSignals) -> Result<(), Exit> {
        let app = App::new(config).map_err(failed)?;
        app.observe_log(self.log);
        let metrics = format!("http://{}/metrics", app.admin_address());
        let shutdown = DaemonShutdown::default();
        let running = async {
            let drained = app.run(shutdown.requested.cancelled()).await;
            shutdown.finished.cancel();
            drained
        };
        let (drained, result) = tokio::join!(running, self.send_and_check(&metrics, &shutdown, signals));
        result?;
        match drained.map_err(failed)? {
            Drained::Complete => Ok(()),
            Drained::Unflushed | Drained::OutOfTime(_) | Drained::Panicked => {
                Err(failed("the daemon did not stop cleanly; set EDNA_COURIER__LOG__LEVEL=info to see its log"))
            }
        }
    }

    /// Requests the shutdown of the daemon in any case; waits for its end only on success.
    async fn send_and_check(
        &self,
        metrics: &str,
        shutdown: &DaemonShutdown,
        signals: &mut StopSignals,
    ) -> Result<(), Exit> {
        let (tracker, started) = (SharedTracker::default(), Instant::now());
        output::print_note(&format!("sending {} commands; metrics on {metrics}", self.count));
        let mut consuming = pin!(self.backend.consume(&tracker));
        let failure = async {
            tokio::select! {
                Err(problem) = self.backend.send(self.count, &tracker) => problem,
                problem = unexpected_end(&mut consuming, shutdown) => problem,
                () = signals.recv() => INTERRUPTED.to_owned(),
            }
        };
        let mut result = wait::until_complete(&tracker, self.count, failure).await.map_err(failed);
        let elapsed = started.elapsed();
        let keeps = self.keep && result.is_ok();
        if keeps {
            self.print_summary(&tracker, elapsed, &format!("metrics on {metrics}; Ctrl-C ends the demo"));
            result = tokio::select! {
                problem = unexpected_end(&mut consuming, shutdown) => Err(failed(problem)),
                () = signals.recv() => Ok(()),
            };
        }
        shutdown.requested.cancel();
        if result.is_ok() {
            result = self.consume_rest(consuming, shutdown).await.map_err(failed);
        }
        if !keeps {
            let note = format!("metrics were on {metrics}; --keep keeps the daemon running");
            self.print_summary(&tracker, elapsed, &note);
        }
        result.and_then(|()| self.check(&tracker).map_err(failed))
    }

    /// Consumes everything that the daemon publishes until it has stopped: a duplicate event would come late.
    async fn consume_rest(
        &self,
        mut consuming: Pin<&mut impl Consuming>,
        shutdown: &DaemonShutdown,
    ) -> Result<(), String> {
        tokio::select! {
            Err(problem) = &mut consuming => return Err(problem),
            () = shutdown.finished.cancelled() => {}
        }
        let consumed = async { tokio::try_join!(self.backend.publish_end_markers(), consuming) };
        match tokio::time::timeout(LAST_MESSAGES_TIMEOUT, consumed).await {
            Ok(consumed) => consumed.map(|_| ()),
            Err(_) => {
                let seconds = LAST_MESSAGES_TIMEOUT.as_secs();
                Err(format!("the broker did not deliver the last messages within {seconds} s; check it for alarms"))
            }
        }
    }

    fn print_summary(&self, tracker: &SharedTracker, elapsed: Duration, note: &str) {
        let summary = Summary { tracker: &tracker.lock(), count: self.count, elapsed, note: note.to_owned() };
        if self.json {
            summary.print_json();
        } else {
            summary.print();
        }
    }

    /// Checks the outcomes and the POSTs after all messages have been consumed.
    fn check(&self, tracker: &SharedTracker) -> Result<(), String> {
        let tracker = tracker.lock();
        if tracker.complete() != self.count || tracker.wrong() != 0 {
            return Err("not every command reached exactly one outcome, the expected one".to_owned());
        }
        post_check::check(self.count, &self.sandbox.received(&ReceivedFilter::default()))
    }
}

/// Resolves when the consumer fails or the daemon stops.
async fn unexpected_end(consuming: &mut Pin<&mut impl Consuming>, shutdown: &DaemonShutdown) -> String {
    tokio::select! {
        Err(problem) = consuming => problem,
        () = shutdown.finished.cancelled() => DAEMON_STOPPED.to_owned(),
    }
}
