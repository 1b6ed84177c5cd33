//! `edna-courier run`

use std::{fmt::Display, io};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tracing::{error, info, warn};

use super::{Exit, exit::failed, output, signals::StopSignals};
use crate::{
    bootstrap::{App, StartError},
    config::{Config, LimitsSettings, Sources},
    domain::rate::Rates,
    journal::OpenError,
    pipeline::Drained,
    telemetry::logging::{self, LogGuard},
};

/// Why the daemon could not start or run, with the exit code.
type RunFailure = (Exit, String);

/// Errors after the start of logging are printed through the log's queue, as standard error may be a full pipe without a reader.
pub(super) fn execute(sources: &Sources) -> Result<Exit, Exit> {
    let config = Config::load(sources).map_err(|mistakes| Exit::Configuration.because(mistakes))?;
    let log = logging::init(&config.log.level, config.log.format, config.log.no_color).map_err(failed)?;
    serve(config, sources, &log).map_err(|(exit, problem)| {
        log.print(&output::error_line(&problem));
        exit
    })
}

fn serve(config: Config, sources: &Sources, log: &LogGuard) -> Result<Exit, RunFailure> {
    // One thread for the pipeline, whose tasks mostly wait, so that handing over a command wakes no other thread. The
    // admin server, the journal and the broker connections have their own threads.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(run_failed)?;
    let app = App::new(config).map_err(start_failed)?;
    app.observe_log(log);
    let exit = runtime.block_on(run(app, sources));
    runtime.shutdown_background();
    exit
}

async fn run(app: App, sources: &Sources) -> Result<Exit, RunFailure> {
    let mut signals = StopSignals::listen().map_err(run_failed)?;
    let reloading = reload_on_hangup(sources, app.rates());
    let running = app.run(async { signals.recv().await });
    tokio::select! {
        drained = running => Ok(log_end(drained.map_err(run_failed)?)),
        error = reloading => Err(run_failed(error)),
        // The first signal started the drain; the second one aborts it.
        () = second_signal() => Ok(Exit::DrainTimedOut),
    }
}

fn log_end(drained: Drained) -> Exit {
    match drained {
        Drained::Complete => {
            info!("stopped; all commands in hand are settled or back in the queue");
            Exit::Success
        }
        Drained::Unflushed => {
            warn!("stopped before the broker confirmed the last acknowledgements; it may redeliver these commands");
            Exit::DrainTimedOut
        }
        Drained::OutOfTime(left) => {
            warn!(left, "the drain timed out with {left} commands in hand; the broker redelivers them");
            Exit::DrainTimedOut
        }
        Drained::Panicked => {
            error!("stopped after a panic in a task, which is a bug; the broker redelivers the commands in hand");
            Exit::Failed
        }
    }
}

fn run_failed(error: impl Display) -> RunFailure {
    (Exit::Failed, error.to_string())
}

fn start_failed(error: StartError) -> RunFailure {
    // The API client is built from settings alone.
    let is_configuration =
        matches!(error, StartError::ApiClient(_) | StartError::Journal(OpenError::NewerVersion { .. }));
    let exit = if is_configuration { Exit::Configuration } else { Exit::Failed };
    (exit, error.to_string())
}

/// Applies the rates in the settings on each SIGHUP. Mistakes in the settings are logged and change nothing.
///
/// Returns only if the signal cannot be received.
async fn reload_on_hangup(sources: &Sources, rates: watch::Sender<Rates>) -> io::Error {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => return error,
    };
    let channels = LimitsSettings::load(sources).map(|limits| limits.channels);
    while hangups.recv().await.is_some() {
        match LimitsSettings::load(sources) {
            Ok(limits) if channels.as_ref() == Ok(&limits.channels) => {
                rates.send_replace(limits.rates);
                info!("rates in [limits] reloaded");
            }
            Ok(_) => {
                warn!("limits.channel_per_second lists other channel types than at the start; restart to apply it")
            }
            Err(mistakes) => warn!(%mistakes, "rates in [limits] not reloaded: {mistakes}"),
        }
    }
    std::future::pending().await
}

async fn second_signal() {
    let Ok(mut signals) = StopSignals::listen() else { return std::future::pending().await };
    signals.recv().await;
    signals.recv().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edna::{BuildError, TokenError};

    #[test]
    fn start_error_of_api_client_is_configuration() {
        assert_eq!(start_failed(BuildError::Token(TokenError::Invalid).into()).0, Exit::Configuration);
        let newer = OpenError::NewerVersion { path: "header".into(), version: '3', newest: '2' };
        assert_eq!(start_failed(newer.into()).0, Exit::Configuration);
        assert_eq!(start_failed(io::Error::from(io::ErrorKind::AddrInUse).into()).0, Exit::Failed);
    }
}
