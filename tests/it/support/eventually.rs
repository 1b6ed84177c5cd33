//! Polling for conditions; the only place in the tests with an interval.

use std::{fmt::Debug, time::Duration};

use tokio::time::{MissedTickBehavior, interval, timeout};

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Polls until a condition holds, or a value satisfies a predicate, and returns the value. Panics at the deadline with the
/// description and the last value.
///
/// ```ignore
/// eventually!(TIMEOUT, proxy.open() == 2, "both connections of the daemon are open");
/// eventually!(TIMEOUT, client.depth(&queue).await, |depth| *depth == 3, "three commands in the queue");
/// ```
macro_rules! eventually {
    ($deadline:expr, $condition:expr, $description:expr) => {
        $crate::support::eventually::eventually!($deadline, $condition, |holds: &bool| *holds, $description)
    };
    ($deadline:expr, $value:expr, $accept:expr, $description:expr) => {{
        let deadline: std::time::Duration = $deadline;
        match $crate::support::eventually::poll(deadline, async || $value, $accept).await {
            Ok(value) => value,
            Err(last) => {
                panic!("waited {deadline:?} for {}; last seen: {} = {last}", $description, stringify!($value))
            }
        }
    }};
}
pub(crate) use eventually;

/// Polls until the predicate accepts the value and returns it.
///
/// # Errors
/// After `deadline`: the last value, as text.
pub(crate) async fn poll<T: Debug>(
    deadline: Duration,
    mut observe: impl AsyncFnMut() -> T,
    accept: impl Fn(&T) -> bool,
) -> Result<T, String> {
    let mut last = "none: the first poll did not complete".to_owned();
    let mut ticks = interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let polling = async {
        loop {
            ticks.tick().await;
            let value = observe().await;
            if accept(&value) {
                break value;
            }
            last = format!("{value:?}");
        }
    };
    let found = timeout(deadline, polling).await;
    found.map_err(|_elapsed| last)
}
