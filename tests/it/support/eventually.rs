//! Waiting for conditions; the one place in the tests that knows an interval.

use std::{fmt::Debug, time::Duration};

use tokio::time::{MissedTickBehavior, interval, timeout};

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until a condition holds, or a value is as wanted, and returns the value; panics at the deadline and says what
/// was awaited and what was seen last.
///
/// ```ignore
/// eventually!(SOON, proxy.open() == 2, "both connections of the daemon");
/// eventually!(SOON, client.depth(&queue).await, |depth| *depth == 3, "three commands in the queue");
/// ```
macro_rules! eventually {
    ($deadline:expr, $condition:expr, $what:expr) => {
        $crate::support::eventually::eventually!($deadline, $condition, |holds: &bool| *holds, $what)
    };
    ($deadline:expr, $value:expr, $wanted:expr, $what:expr) => {{
        let deadline: std::time::Duration = $deadline;
        match $crate::support::eventually::poll(deadline, async || $value, $wanted).await {
            Ok(value) => value,
            Err(last) => {
                panic!("waited {deadline:?} for {}; last seen: {} = {last}", $what, stringify!($value))
            }
        }
    }};
}
pub(crate) use eventually;

/// Observes until the value is as wanted and returns it.
///
/// # Errors
/// After `deadline`, the last observed value as text.
pub(crate) async fn poll<T: Debug>(
    deadline: Duration,
    mut observe: impl AsyncFnMut() -> T,
    wanted: impl Fn(&T) -> bool,
) -> Result<T, String> {
    let mut last = "nothing: the first look did not end".to_owned();
    let mut turns = interval(POLL_INTERVAL);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let search = async {
        loop {
            turns.tick().await;
            let value = observe().await;
            if wanted(&value) {
                break value;
            }
            last = format!("{value:?}");
        }
    };
    let found = timeout(deadline, search).await;
    found.map_err(|_elapsed| last)
}
