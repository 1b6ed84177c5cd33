//! The composition root: builds a daemon from a [`Config`] and runs it. The only module that names every adapter.

mod adapters;
mod journal;
mod management;
mod open_files;
mod sessions;

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{adapters::Adapters, management::ManagementPoller, sessions::BrokerHandles};
use crate::{
    admin::AdminServer,
    amqp::{ManagementError, OnOtherConsumers},
    config::Config,
    domain::{decode, rate::Rates},
    edna::{self, ApiClient},
    gate::{Gate, GateReason},
    journal::{AnyJournal, OpenError},
    pipeline::{Drained, Pipeline, PipelineSettings},
    telemetry::{Telemetry, TelemetryLimits, events::CredentialRefresh, logging::LogGuard},
};

/// Why a daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A metric is registered twice, which is a bug.
    #[error("cannot register the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The settings of the API are unusable.
    #[error(transparent)]
    ApiClient(#[from] edna::BuildError),
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The client of the management API cannot be built.
    #[error(transparent)]
    Management(#[from] ManagementError),
    /// The admin server cannot start.
    #[error(transparent)]
    Admin(#[from] io::Error),
}

/// A daemon that is ready to run.
pub struct App {
    config: Config,
    gate: Gate,
    telemetry: Telemetry,
    client: ApiClient,
    journal: AnyJournal,
    admin: AdminServer,
    management: Option<ManagementPoller>,
    rates: watch::Sender<Rates>,
}

impl App {
    /// Opens the journal and the port of the admin server. Connects to neither the broker nor the API.
    ///
    /// # Errors
    /// If a retry cannot help: unusable settings, a damaged journal, a port in use.
    pub fn new(config: Config) -> Result<Self, StartError> {
        open_files::check(config.limits.concurrency.max());
        let limits = TelemetryLimits {
            max_in_flight: config.limits.concurrency.max().into(),
            prefetch: config.limits.prefetch(),
        };
        let telemetry = Telemetry::new(limits, &config.delivery.tiers)?;
        let gate = Gate::observed_by(Arc::new(telemetry.clone()));
        let client = api_client(&config, &telemetry)?;
        let admin = AdminServer::bind(config.admin.listen)?;
        let management = ManagementPoller::new(&config.broker, &config.delivery.tiers, &telemetry)?;
        let journal = journal::open(&config.journal, &gate, &telemetry)?;
        let rates = watch::Sender::new(config.limits.rates.clone());
        Ok(Self { config, gate, telemetry, client, journal, admin, management, rates })
    }

    /// The address of the admin server.
    #[must_use]
    pub const fn admin_address(&self) -> SocketAddr {
        self.admin.address()
    }

    /// Counts the log lines that are dropped from now on.
    pub fn observe_log(&self, log: &LogGuard) {
        self.telemetry.observe_log(log);
    }

    /// Changes the rates of a running daemon.
    #[must_use]
    pub fn rates(&self) -> watch::Sender<Rates> {
        self.rates.clone()
    }

    /// Runs until `shutdown` resolves, then drains: cancels the consumer, finishes the commands in hand, and flushes
    /// confirms and acknowledgements.
    ///
    /// # Errors
    /// If the thread of the admin server cannot be started.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Drained, StartError> {
        let Self { config, gate, telemetry, client, journal, admin, management, rates } = self;
        let admin_address = admin.address().to_string();
        let stop_admin = CancellationToken::new();
        let stopped = stop_admin.clone().cancelled_owned();
        let admin_server = admin.serve(telemetry.clone(), gate.clone(), config.admin.token.clone(), stopped)?;
        info!(admin_address, "admin server listening on http://{admin_address}");
        let mut background = JoinSet::new();
        background.spawn(telemetry.clone().heartbeat());
        background.spawn(journal::run(journal.clone()));
        let are_messages_counted = management.as_ref().map(ManagementPoller::is_counting).unwrap_or_default();
        if let Some(poller) = management {
            background.spawn(async move { match poller.run().await {} });
        }

        let drain = CancellationToken::new();
        let is_shared = watch::Sender::new(false);
        let settings = pipeline_settings(&config, rates.subscribe(), is_shared.subscribe());
        let on_other_consumers = on_other_consumers(&journal, &telemetry, is_shared);
        let BrokerHandles { inbox, settler, publisher, mut sessions } =
            BrokerHandles::start(&config, &gate, &telemetry, are_messages_counted, on_other_consumers);
        let adapters = Adapters { client, publisher, settler, journal: journal.clone() };
        let pipeline = Pipeline::new(settings, adapters, gate.clone(), telemetry.clone(), drain.clone());
        let mut pipeline_task = JoinSet::new();
        pipeline_task.spawn(pipeline.run(inbox));

        let ended_early = tokio::select! {
            () = shutdown => false,
            // Both end early only after a bug.
            _ = pipeline_task.join_next() => true,
            () = sessions.any_ended() => true,
        };
        let problem = if ended_early { "a task ended unexpectedly" } else { "a shutdown was requested" };
        let closed_gate = gate.close(GateReason::Drain, problem);
        drain.cancel();
        let drained = if ended_early { Drained::Panicked } else { join(&mut pipeline_task).await };
        let drained = sessions.close(drained).await;
        journal::close(&journal).await;
        drop(closed_gate);
        stop_admin.cancel();
        if let Err(problem) = admin_server.join().await {
            warn!(%problem, "the admin server failed during the shutdown");
        }
        Ok(drained)
    }
}

/// A task that returns no result has panicked.
async fn join(task: &mut JoinSet<Drained>) -> Drained {
    task.join_next().await.and_then(Result::ok).unwrap_or(Drained::Panicked)
}

fn api_client(config: &Config, telemetry: &Telemetry) -> Result<ApiClient, edna::BuildError> {
    let api = &config.api;
    let settings = edna::ApiSettings {
        base_url: api.base_url.clone(),
        path: api.path.clone(),
        timeout: api.timeout,
        connect_timeout: api.connect_timeout,
        pool_idle_timeout: api.keep_alive,
        pool_max_idle: config.limits.concurrency.max().into(),
        proxy: api.proxy.clone(),
        ca_file: api.ca_file.clone(),
        identity_files: api.identity_files.clone(),
        unauthorized_statuses: api.statuses.unauthorized.clone(),
        ..edna::ApiSettings::default()
    };
    if let edna::Proxy::Url { origin, .. } = &api.proxy {
        info!(proxy = %origin, "API requests use the proxy {origin}");
    }
    let telemetry = telemetry.clone();
    let on_refresh = move |result: Result<(), &edna::RefreshError>| match result {
        Ok(()) => telemetry.record(CredentialRefresh { result: Ok(()) }),
        Err(error) => telemetry.record(CredentialRefresh { result: Err(&error.to_string()) }),
    };
    ApiClient::with_refresh(&settings, api.credentials.clone(), Arc::new(on_refresh))
}

/// With other daemons on the queue, a journal `file` is not complete, and a device's commands have no order.
fn on_other_consumers(journal: &AnyJournal, telemetry: &Telemetry, is_shared: watch::Sender<bool>) -> OnOtherConsumers {
    let on_journal = journal::on_other_consumers(journal, telemetry);
    Arc::new(move |others| {
        on_journal(others);
        is_shared.send_if_modified(|is_shared| std::mem::replace(is_shared, others > 0) != (others > 0));
    })
}

fn pipeline_settings(
    config: &Config,
    rates: watch::Receiver<Rates>,
    is_shared: watch::Receiver<bool>,
) -> PipelineSettings {
    let delivery = &config.delivery;
    PipelineSettings {
        limits: decode::DecodeLimits {
            max_body: delivery.max_body,
            max_text: delivery.max_text,
            channel_types: config.api.channel_types.clone(),
            unknown_fields: delivery.unknown_fields,
            missing_id: delivery.missing_id,
        },
        descriptor_field: config.api.descriptor_field.clone(),
        statuses: config.api.statuses.clone(),
        api_timeout: config.api.timeout,
        max_attempts: delivery.max_attempts,
        tiers: delivery.tiers.clone(),
        on_uncertain: delivery.on_uncertain,
        default_ttl: delivery.default_ttl,
        event_format: config.events.format,
        replies: config.events.replies,
        order: delivery.order,
        concurrency: config.limits.concurrency,
        prefetch: config.limits.prefetch(),
        channels: config.limits.channels.clone(),
        rates,
        is_shared,
        drain: delivery.drain,
    }
}
