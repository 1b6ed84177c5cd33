//! The composition root: from a [`Config`] to a running daemon. The one place that names every adapter.

mod journal;
mod open_files;
mod world;

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::world::{System, World};
use crate::{
    admin::AdminServer,
    amqp::{
        Acks, Broker, Consumer, Deliveries, Others, Publisher,
        topology::{Names, Topology},
    },
    config::{self, Config},
    domain::{decode, rate::Rates},
    edna::{self, ApiClient},
    gate::{Gate, GateReason},
    journal::{Journal, OpenError},
    pipeline::{Drained, Pipeline, Rules, first_prefetch},
    telemetry::{Telemetry, TelemetryLimits, events::CredentialRefresh},
};

/// For the sessions to settle, flush and close; each of their steps has a deadline of its own as well.
const CLOSING: Duration = Duration::from_secs(15);

/// Why a daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A metric is registered twice: a mistake of ours.
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The API client cannot be built from the settings.
    #[error(transparent)]
    ApiClient(#[from] edna::BuildError),
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] OpenError),
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
    journal: Journal,
    admin: AdminServer,
    rates: watch::Sender<Rates>,
}

impl App {
    /// Builds everything that can fail for good; nothing is connected yet.
    ///
    /// # Errors
    /// What stands in the way, and what to do.
    pub fn new(config: Config) -> Result<Self, StartError> {
        open_files::look(config.limits.concurrency.most());
        let limits = TelemetryLimits {
            max_in_flight: config.limits.concurrency.most().into(),
            prefetch: config.limits.prefetch(),
        };
        let telemetry = Telemetry::new(limits, &config.delivery.tiers)?;
        let gate = Gate::observed_by(Arc::new(telemetry.clone()));
        let client = client(&config, &telemetry)?;
        let admin = AdminServer::bind(config.admin.listen)?;
        let journal = journal::open(&config, &gate, &telemetry)?;
        let rates = watch::Sender::new(config.limits.rates.clone());
        Ok(Self { config, gate, telemetry, client, journal, admin, rates })
    }

    /// Where metrics and probes are served.
    #[must_use]
    pub const fn admin_address(&self) -> SocketAddr {
        self.admin.address()
    }

    /// Changes the rates while it runs.
    #[must_use]
    pub fn rates(&self) -> watch::Sender<Rates> {
        self.rates.clone()
    }

    /// Runs until `shutdown` resolves, then drains: takes nothing more, finishes what is in hand, flushes confirms and
    /// acknowledgements.
    ///
    /// # Errors
    /// When the admin server's thread cannot be made.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Drained, StartError> {
        let Self { config, gate, telemetry, client, journal, admin, rates } = self;
        let admin_address = admin.address().to_string();
        let ended = CancellationToken::new();
        let serving = admin.serve(
            telemetry.clone(),
            gate.clone(),
            config.admin.token.clone(),
            ended.clone().cancelled_owned(),
        )?;
        info!(admin_address, "metrics and probes are served on http://{admin_address}");
        let mut background = JoinSet::new();
        background.spawn(telemetry.clone().heartbeat());
        background.spawn(journal::keep(journal.clone()));

        let drain = CancellationToken::new();
        let links = Links::start(&config, &gate, &telemetry, journal::watch_others(&journal, &telemetry));
        let world = World { client, publisher: links.publisher, acks: links.acks, journal: journal.clone() };
        let pipeline =
            Pipeline::new(rules(&config, rates.subscribe()), world, gate.clone(), telemetry.clone(), drain.clone());
        let mut work = JoinSet::new();
        work.spawn(pipeline.run(links.deliveries));

        let mut sessions = links.sessions;
        let bug = tokio::select! {
            () = shutdown => false,
            // Neither ends before it is told to.
            _ = work.join_next() => true,
            _ = sessions.tasks.join_next() => true,
        };
        let closed = gate.close(GateReason::Drain, "the daemon was asked to stop");
        drain.cancel();
        let drained = if bug { Drained::Panicked } else { joined(&mut work).await };
        let drained = sessions.close(drained).await;
        journal::close(&journal).await;
        drop(closed);
        ended.cancel();
        if let Err(problem) = serving.join().await {
            warn!(%problem, "the admin server ended badly");
        }
        Ok(drained)
    }
}

/// A task of ours that does not come back by itself has panicked.
async fn joined(work: &mut JoinSet<Drained>) -> Drained {
    work.join_next().await.and_then(Result::ok).unwrap_or(Drained::Panicked)
}

/// Both connections to the broker.
struct Links {
    deliveries: Deliveries,
    acks: Acks,
    publisher: Publisher,
    sessions: Sessions,
}

/// Their tasks. Acknowledgements are flushed last, when nothing is published any more.
struct Sessions {
    /// Each tells whether it flushed what it had.
    tasks: JoinSet<bool>,
    stop: CancellationToken,
}

impl Links {
    fn start(config: &Config, gate: &Gate, telemetry: &Telemetry, others: Others) -> Self {
        let config::Broker { uris, tls, prefix, declare } = config.broker.clone();
        let (broker, names, stop) = (Arc::new(Broker::new(uris, tls)), Names::new(&prefix), CancellationToken::new());
        let (publisher, publishing) =
            Publisher::new(broker.clone(), names.clone(), gate.clone(), telemetry.clone(), System, stop.clone());
        let consumer = Consumer {
            declare: declare.then(|| Topology::new(&names, &config.delivery.tiers, config.events.default_queue)),
            names,
            tiers: config.delivery.tiers.clone(),
            prefetch: first_prefetch(config.limits.prefetch()),
            others,
            gate: gate.clone(),
            telemetry: telemetry.clone(),
        };
        let (deliveries, acks, consuming) = consumer.start(broker, System, stop.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(publishing);
        tasks.spawn(consuming);
        Self { deliveries, acks, publisher, sessions: Sessions { tasks, stop } }
    }
}

impl Sessions {
    /// Flushes and closes. What was not acknowledged in time is redelivered, so then the drain was not complete.
    async fn close(mut self, drained: Drained) -> Drained {
        self.stop.cancel();
        let closing = async {
            let mut flushed = true;
            while let Some(ended) = self.tasks.join_next().await {
                flushed &= ended.unwrap_or(false);
            }
            flushed
        };
        let flushed = tokio::time::timeout(CLOSING, closing).await.unwrap_or(false);
        match drained {
            Drained::Complete if !flushed => Drained::Unflushed,
            other => other,
        }
    }
}

fn client(config: &Config, telemetry: &Telemetry) -> Result<ApiClient, edna::BuildError> {
    let api = &config.api;
    let settings = edna::ApiSettings {
        base_url: api.base_url.clone(),
        path: api.path.clone(),
        timeout: api.timeout,
        connect_timeout: api.connect_timeout,
        pool_idle_timeout: api.keep_alive,
        pool_max_idle: config.limits.concurrency.most().into(),
        proxy: api.proxy.clone(),
        ca_file: api.ca_file.clone(),
        identity_files: api.identity_files.clone(),
        unauthorized_statuses: api.statuses.unauthorized.clone(),
        ..edna::ApiSettings::default()
    };
    let telemetry = telemetry.clone();
    let on_refresh = move |result: Result<(), &edna::RefreshError>| match result {
        Ok(()) => telemetry.record(CredentialRefresh { result: Ok(()) }),
        Err(error) => telemetry.record(CredentialRefresh { result: Err(&error.to_string()) }),
    };
    ApiClient::with_refresh(&settings, api.credentials.clone(), Arc::new(on_refresh))
}

fn rules(config: &Config, rates: watch::Receiver<Rates>) -> Rules {
    let delivery = &config.delivery;
    Rules {
        limits: decode::Limits {
            max_body: delivery.max_body,
            max_text: delivery.max_text,
            channel_types: config.api.channel_types.clone(),
            unknown_fields: delivery.unknown_fields,
            missing_id: delivery.missing_id,
        },
        descriptor_field: config.api.descriptor_field.clone(),
        statuses: config.api.statuses.clone(),
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
        drain: delivery.drain,
    }
}
