//! One run of the daemon: the commands are sent, their ends awaited, and everything that comes after. No wait is endless.

use std::{
    future::Future,
    pin::{Pin, pin},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Arguments, failed, posts,
    reach::reach_the_end,
    show::Summary,
    traffic::{Backend, Books},
};
use crate::{
    bootstrap::App,
    cli::{Exit, output, run::Stop},
    config::Config,
    pipeline::Drained,
    sandbox::{Filter, Sandbox},
};

/// For the marks behind the last messages to arrive.
const LAST: Duration = Duration::from_secs(10);

pub(super) const INTERRUPTED: &str = "interrupted";
const ENDED: &str = "the daemon ended by itself; its log tells why";

/// What a run is made of besides the daemon.
pub(super) struct Scene<'a> {
    pub(super) arguments: &'a Arguments,
    pub(super) sandbox: &'a Sandbox,
    pub(super) backend: &'a Backend,
}

/// The moments in the life of the daemon.
#[derive(Default)]
struct Daemon {
    /// It is asked to stop.
    quit: CancellationToken,
    /// It has stopped: drained, everything confirmed.
    over: CancellationToken,
}

/// Runs the daemon, and stops it whatever becomes of the commands.
pub(super) async fn with_daemon(scene: &Scene<'_>, config: Config, stop: &mut Stop) -> Result<(), Exit> {
    let app = App::new(config).map_err(failed)?;
    let metrics = format!("http://{}/metrics", app.admin_address());
    let daemon = Daemon::default();
    let running = async {
        let drained = app.run(daemon.quit.cancelled()).await;
        daemon.over.cancel();
        drained
    };
    let (drained, watched) = tokio::join!(running, scene.watch(&metrics, &daemon, stop));
    // After a first problem this is no news.
    watched?;
    match drained.map_err(failed)? {
        Drained::Complete => Ok(()),
        Drained::Unflushed | Drained::OutOfTime(_) | Drained::Panicked => {
            Err(failed("the daemon did not stop cleanly"))
        }
    }
}

impl Scene<'_> {
    /// From the first command until the daemon has stopped; after a problem, until it is asked to.
    async fn watch(&self, metrics: &str, daemon: &Daemon, stop: &mut Stop) -> Result<(), Exit> {
        let count = self.arguments.count();
        let (books, started) = (Books::default(), Instant::now());
        output::note(&format!("sending {count} commands; metrics on {metrics}"));
        let mut listening = pin!(self.backend.listen(&books));
        let trouble = async {
            tokio::select! {
                Err(problem) = self.backend.send(count, &books) => problem,
                problem = lost(&mut listening, daemon) => problem,
                () = stop.asked() => INTERRUPTED.to_owned(),
            }
        };
        let mut result = reach_the_end(&books, count, trouble).await.map_err(failed);
        let took = started.elapsed();
        let stays = self.arguments.keep && result.is_ok();
        if stays {
            self.tell(&books, took, metrics, stays);
            result = tokio::select! {
                problem = lost(&mut listening, daemon) => Err(failed(problem)),
                () = stop.asked() => Ok(()),
            };
        }
        daemon.quit.cancel();
        if result.is_ok() {
            result = self.hear_the_last(listening, daemon).await.map_err(failed);
        }
        if !stays {
            self.tell(&books, took, metrics, stays);
        }
        result.and_then(|()| self.judge(&books).map_err(failed))
    }

    /// A second event of a command comes late: whatever the daemon publishes until it has stopped must be seen.
    async fn hear_the_last(&self, mut listening: Pin<&mut impl Listening>, daemon: &Daemon) -> Result<(), String> {
        tokio::select! {
            Err(problem) = &mut listening => return Err(problem),
            () = daemon.over.cancelled() => {}
        }
        let marked = async { tokio::try_join!(self.backend.mark_the_end(), listening) };
        match tokio::time::timeout(LAST, marked).await {
            Ok(heard) => heard.map(|_| ()),
            Err(_) => Err(format!("the broker did not hand out the last messages within {} s", LAST.as_secs())),
        }
    }

    /// Prints the table, as far as it goes.
    fn tell(&self, books: &Books, took: Duration, metrics: &str, stays: bool) {
        let metrics = if stays {
            format!("metrics are on {metrics}; Ctrl-C ends the demo")
        } else {
            format!("metrics were on {metrics} (--keep stays up)")
        };
        let summary = Summary { account: &books.open(), count: self.arguments.count(), took, metrics };
        if self.arguments.json {
            summary.print_json();
        } else {
            summary.print();
        }
    }

    /// Once everything is in: whether it is as it must be.
    fn judge(&self, books: &Books) -> Result<(), String> {
        let (count, account) = (self.arguments.count(), books.open());
        if account.done() != count || account.wrong() != 0 {
            return Err("not every command reached exactly one outcome, the expected one".to_owned());
        }
        posts::check(count, &self.sandbox.received(&Filter::default()))
    }
}

/// The listening to events and dead letters; it ends well only when the end is marked.
trait Listening: Future<Output = Result<(), String>> {}
impl<F: Future<Output = Result<(), String>>> Listening for F {}

/// What ends a run from outside of us.
async fn lost(listening: &mut Pin<&mut impl Listening>, daemon: &Daemon) -> String {
    tokio::select! {
        Err(problem) = listening => problem,
        () = daemon.over.cancelled() => ENDED.to_owned(),
    }
}
