//! Waits until all commands have reached their outcome.

use std::{future::Future, time::Duration};

use tokio::time::Instant;

use super::{progress::Progress, tracker::SharedTracker};

/// Without a new outcome for this long, the demo has failed; generous for slow machines.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Waits until `count` commands are complete.
///
/// # Errors
/// If `failure` resolves first, with its text; or after [`STALL_TIMEOUT`] without progress.
pub(super) async fn until_complete(
    tracker: &SharedTracker,
    count: usize,
    failure: impl Future<Output = String>,
) -> Result<(), String> {
    let mut progress = Progress::new(count);
    let result = tokio::select! {
        complete = poll(tracker, count, &mut progress) => complete,
        problem = failure => Err(problem),
    };
    progress.finish();
    result
}

async fn poll(tracker: &SharedTracker, count: usize, progress: &mut Progress) -> Result<(), String> {
    let mut interval = tokio::time::interval(POLL_INTERVAL);
    let (mut last, mut last_change) = (0, Instant::now());
    loop {
        interval.tick().await;
        let complete = tracker.lock().complete();
        progress.update(complete);
        if complete == count {
            return Ok(());
        }
        if complete != last {
            (last, last_change) = (complete, Instant::now());
        }
        if last_change.elapsed() > STALL_TIMEOUT {
            return Err(format!(
                "no new outcome for {} s, with {complete} of {count} commands complete; check the broker for alarms, \
                 or set EDNA_COURIER__LOG__LEVEL=info to see the daemon's log",
                STALL_TIMEOUT.as_secs()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::cli::demo::plan::planned;

    fn tracker_with(count: usize) -> SharedTracker {
        let tracker = SharedTracker::default();
        (0..count).for_each(|index| tracker.lock().sent(index, planned(index).expected));
        tracker
    }

    #[tokio::test(start_paused = true)]
    async fn wait_without_progress_times_out() {
        let (tracker, started) = (tracker_with(2), Instant::now());
        tracker.lock().event(Some(0), "succeeded");
        let problem = until_complete(&tracker, 2, pending()).await.unwrap_err();
        assert!(problem.contains("1 of 2 commands"), "{problem}");
        assert!(started.elapsed() >= STALL_TIMEOUT && started.elapsed() < 2 * STALL_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn wait_returns_a_failure_at_once() {
        let (tracker, started) = (tracker_with(1), Instant::now());
        let failure = async { "failure".to_owned() };
        assert_eq!(until_complete(&tracker, 1, failure).await, Err("failure".to_owned()));
        assert!(started.elapsed() < STALL_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn wait_ends_when_all_are_complete() {
        let tracker = tracker_with(1);
        tracker.lock().event(Some(0), "succeeded");
        assert_eq!(until_complete(&tracker, 1, pending()).await, Ok(()));
    }
}
