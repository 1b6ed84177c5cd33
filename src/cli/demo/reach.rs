//! Waits for the ends of the commands, but not for ever.

use std::{future::Future, time::Duration};

use tokio::time::Instant;

use super::{show::Progress, traffic::Books};

/// After that long without another end reached, the demo has failed: a bound for the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Waits until all commands have reached their end, trouble comes, or patience has run out.
pub(super) async fn reach_the_end(
    books: &Books,
    count: usize,
    trouble: impl Future<Output = String>,
) -> Result<(), String> {
    let mut progress = Progress::new(count);
    let result = tokio::select! {
        reached = all_reached(books, count, &mut progress) => reached,
        problem = trouble => Err(problem),
    };
    progress.end();
    result
}

async fn all_reached(books: &Books, count: usize, progress: &mut Progress) -> Result<(), String> {
    let (mut looks, mut last) = (tokio::time::interval(LOOK_EVERY), (0, Instant::now()));
    loop {
        looks.tick().await;
        let done = books.open().done();
        progress.at(done);
        if done == count {
            return Ok(());
        }
        if done != last.0 {
            last = (done, Instant::now());
        }
        if last.1.elapsed() > PATIENCE {
            return Err(format!(
                "given up: {done} of {count} commands have reached their end, and none more for {} s; look for alarms \
                 on the broker, or let the daemon tell more by EDNA_COURIER__LOG__LEVEL=info",
                PATIENCE.as_secs()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::cli::demo::plan::planned;

    fn sent(count: usize) -> Books {
        let books = Books::default();
        (0..count).for_each(|index| books.open().sent(index, planned(index).expected));
        books
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_even_if_nothing_else_does() {
        let (books, began) = (sent(2), Instant::now());
        books.open().event(Some(0), "succeeded");
        let problem = reach_the_end(&books, 2, pending()).await.unwrap_err();
        assert!(problem.contains("1 of 2 commands"), "{problem}");
        assert!(began.elapsed() >= PATIENCE && began.elapsed() < 2 * PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_ends_it_at_once() {
        let (books, began) = (sent(1), Instant::now());
        let trouble = async { "trouble".to_owned() };
        assert_eq!(reach_the_end(&books, 1, trouble).await, Err("trouble".to_owned()));
        assert!(began.elapsed() < PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn all_ends_reached_is_the_end() {
        let books = sent(1);
        books.open().event(Some(0), "succeeded");
        assert_eq!(reach_the_end(&books, 1, pending()).await, Ok(()));
    }
}
