//! `edna-courier run`

use std::io;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tracing::{error, info, warn};

use super::{Exit, configured, output};
use crate::{
    bootstrap::{App, StartError},
    config::{Limits, Sources},
    domain::rate::Rates,
    pipeline::Drained,
    telemetry::logging,
};

pub(super) fn execute(sources: &Sources) -> Exit {
    start(sources).unwrap_or_else(|exit| exit)
}

fn start(sources: &Sources) -> Result<Exit, Exit> {
    let config = configured(sources)?;
    logging::init(&config.log.level, config.log.format).map_err(failed)?;
    // One thread for the work on commands, which mostly waits: they hand it to each other without waking a thread. Probes,
    // the journal and the connections to the broker have threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let app = App::new(config).map_err(refused)?;
    let exit = runtime.block_on(async {
        let mut stop = Stop::listen().map_err(failed)?;
        let rereading = reread(sources, app.rates());
        let running = app.run(async { stop.asked().await });
        let drained = tokio::select! {
            drained = running => drained.map_err(failed)?,
            failed_to_listen = rereading => return Err(failed(failed_to_listen)),
            // The drain is under way; who asks twice does not want to wait for it.
            () = asked_twice() => return Ok(Exit::OutOfTime),
        };
        Ok(told(drained))
    });
    runtime.shutdown_background();
    exit
}

fn told(drained: Drained) -> Exit {
    match drained {
        Drained::Complete => {
            info!("stopped: everything in hand is settled or back in the queue");
            Exit::Done
        }
        Drained::Unflushed => {
            warn!(
                "stopped, but the broker may not have read the last acknowledgements and may hand commands out again"
            );
            Exit::OutOfTime
        }
        Drained::OutOfTime(left) => {
            warn!(left, "the drain ran out of time with {left} commands in hand; the broker hands them out again");
            Exit::OutOfTime
        }
        Drained::Panicked => {
            error!("stopped by a bug: the work on a command panicked; the command is back in the queue");
            Exit::Failed
        }
    }
}

/// What the API client cannot be built from are its settings.
fn refused(problem: StartError) -> Exit {
    output::problem(&problem);
    if matches!(problem, StartError::ApiClient(_)) { Exit::Configuration } else { Exit::Failed }
}

fn failed(problem: impl std::fmt::Display) -> Exit {
    output::problem(&problem);
    Exit::Failed
}

/// On each SIGHUP the rates in the settings hold from then on; mistakes change nothing. Ends only when there is no hearing it.
async fn reread(sources: &Sources, rates: watch::Sender<Rates>) -> io::Error {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => return error,
    };
    let channels = Limits::load(sources).map(|limits| limits.channels);
    while hangups.recv().await.is_some() {
        match Limits::load(sources) {
            Ok(limits) if channels.as_ref() == Ok(&limits.channels) => {
                rates.send_replace(limits.rates);
                info!("the rates of the section limits were read again and hold from now on");
            }
            Ok(_) => warn!("limits.channel_per_second names other channel types than at the start: restart for that"),
            Err(mistakes) => warn!(%mistakes, "the rates stay as they are: {mistakes}"),
        }
    }
    std::future::pending().await
}

/// SIGTERM or SIGINT.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Resolves with the second signal.
async fn asked_twice() {
    let Ok(mut stop) = Stop::listen() else { return std::future::pending().await };
    stop.asked().await;
    stop.asked().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edna::{BuildError, TokenError};

    #[test]
    fn unusable_settings_of_the_client_are_the_configuration() {
        assert_eq!(refused(BuildError::Token(TokenError::Invalid).into()), Exit::Configuration);
        assert_eq!(refused(io::Error::from(io::ErrorKind::AddrInUse).into()), Exit::Failed);
    }
}
