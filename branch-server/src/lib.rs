//! The branch server (филиальный сервер): mirrors what head office plans for this branch, tracks and seeds it for the
//! terminals while it arrives, hands them head office's plan verbatim, and relays their reports.
//!
//! It must never decide what a terminal runs (head office's plan does), change a plan, let a terminal speak to the
//! WAN's tracker, report in a terminal's name what that terminal did not say, or stop working because head office
//! cannot be reached.
//!
//! - [`config`] what holds; [`app`] what there is, and the two route tables; [`routes`] the handlers
//! - [`upstream`] head office; [`identity`] who this server is there; [`tls`] how it proves that here; [`jobs`] what runs in the background
//! - [`join`] the token that terminals enrol with
//! - [`kit`] what comes by hand while the link is down
//! - [`metadata`] what is signed, believed and mirrored
//! - [`sync`] plan accepted → decided → done; [`store`] artifacts on disk
//! - [`intake`] reports of terminals in; [`relay`] reports to head office out
//! - [`view`] what people see; [`metrics`] what Prometheus sees; [`db`] all SQL

pub mod app;
pub mod config;
pub mod db;
pub mod error;
pub mod identity;
pub mod intake;
pub mod jobs;
pub mod join;
pub mod kit;
pub mod metadata;
pub mod metrics;
pub mod relay;
pub mod routes;
pub mod store;
pub mod sync;
pub mod tls;
pub mod upstream;
pub mod view;

use std::path::PathBuf;
use std::sync::Arc;

use chrono::DateTime;
use service_kit::config::ConfigError;
use service_kit::database::{DatabaseError, Wakeups, connect};
use service_kit::server::{Listener, Metrics, OperatorTokens, ServeError, Transport, bind};
use service_kit::{Clock, Shutdown, SystemClock};
use swarm::{AccessList, AccessListError, Engine, EngineError, TransmissionEngine};
use trust::certificates::{FleetTime, fingerprint};
use trust::client::{Client, Limits};

use app::{App, Signals, Streams};
use config::Settings;
use join::{Join, JoinTokenError};
use metadata::Metadata;
use metrics::BranchMetrics;
use store::Store;
use tls::Tls;
use upstream::{HeadOffice, HttpHeadOffice, UpstreamError};

/// Why the program cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file that settings name.
    #[error("a file that the settings name cannot be used")]
    Config(#[from] ConfigError),
    /// A folder cannot be made.
    #[error("the folder {} cannot be made: see who owns its parent", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate of the listeners, the trust store, or the root file that it begins with.
    #[error("{} {}", .0.sentence(), .0.remedy())]
    Trust(trust::Refusal),
    /// The token for terminals.
    #[error(transparent)]
    JoinToken(#[from] JoinTokenError),
    /// PostgreSQL.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The client of the BitTorrent daemon.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The client of the tracker.
    #[error(transparent)]
    Tracker(#[from] AccessListError),
    /// The client of head office.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The listeners.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// What a test may want to put in the place of the real thing.
pub struct Deps {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The BitTorrent daemon.
    pub engine: Arc<dyn Engine>,
    /// Head office.
    pub head_office: Arc<dyn HeadOffice>,
    /// The time by which certificates are judged; its floor rises with the metadata.
    pub time: FleetTime,
}

impl Deps {
    /// The real things, by the settings.
    ///
    /// # Errors
    /// An address cannot be used, or the identity cannot be read.
    pub fn real(settings: &Settings) -> Result<Self, RunError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let time = FleetTime::new(clock.clone(), DateTime::UNIX_EPOCH);
        let head_office = HttpHeadOffice::new(&settings.head_office, &settings.state_folder, time.clone())?;
        Ok(Self {
            clock,
            time,
            engine: Arc::new(TransmissionEngine::new(settings.engine.clone())?),
            head_office: Arc::new(head_office),
        })
    }
}

/// Makes folders, connects to PostgreSQL, migrates, and puts everything together. Nothing runs yet.
///
/// # Errors
/// As [`RunError`]; PostgreSQL being away is waited for.
pub async fn build(settings: Settings, deps: Deps, shutdown: &Shutdown) -> Result<Arc<App>, RunError> {
    for folder in [&settings.state_folder, &settings.store.folder] {
        std::fs::create_dir_all(folder).map_err(|source| RunError::Folder { path: folder.clone(), source })?;
    }
    service_kit::durable::sweep(&settings.state_folder);
    let trust_store = settings.trust_store();
    let client = Client::open_or_provision(&trust_store, &settings.trust_root).map_err(RunError::Trust)?;
    let limits = Limits { deadline: settings.head_office.request, ..Limits::default() };
    let tls = Tls::new(deps.head_office.clone(), deps.time.clone()).map_err(RunError::Trust)?;
    let metadata = Metadata::new(trust_store, client, deps.head_office.clone(), limits, deps.time);
    let operators = OperatorTokens::read(&settings.operators.tokens_file)?;
    let tracker = AccessList::new(settings.access_list())?;
    let pool = connect(&settings.database, shutdown).await?;
    db::migrate(&pool).await?;
    let join = Join::new(&settings.terminals);
    if let Some(identity) = deps.head_office.identity() {
        join.take_up(&pool, fingerprint(&identity.authority), deps.clock.now()).await?;
    }
    let http_metrics = Metrics::new();
    Ok(Arc::new(App {
        wakeups: Wakeups::listen(&settings.database, shutdown.clone())?,
        pool,
        clock: deps.clock,
        engine: deps.engine,
        tracker,
        head_office: deps.head_office,
        metadata,
        tls,
        store: Store::new(settings.store.folder.clone(), settings.store.budget_bytes),
        join,
        operators,
        metrics: BranchMetrics::register(&http_metrics),
        http_metrics,
        signals: Signals::default(),
        considering: tokio::sync::Mutex::default(),
        carrying: tokio::sync::Mutex::default(),
        checks: sync::check::Checks::default(),
        streams: Arc::new(Streams::default()),
        shutdown: shutdown.clone(),
        settings,
    }))
}

/// The two listeners of `app`.
pub fn listeners(app: &Arc<App>) -> Vec<Listener> {
    let (operators, machines) = (app.clone(), app.clone());
    let (to_people, to_machines) = (app.tls.clone(), app.tls.clone());
    vec![
        Listener {
            name: "operators",
            address: app.settings.operators.listen,
            configure: Arc::new(move |config| app::configure_operators(&operators, config)),
            metrics: app.http_metrics.clone(),
            limits: app.settings.limits,
            transport: Transport::Tls(Arc::new(move || to_people.people())),
        },
        Listener {
            name: "machines",
            address: app.settings.machines_listen,
            configure: Arc::new(move |config| app::configure_machines(&machines, config)),
            metrics: app.http_metrics.clone(),
            limits: app.settings.limits,
            transport: Transport::Tls(Arc::new(move || to_machines.machines())),
        },
    ]
}

/// Runs until `shutdown`.
///
/// # Errors
/// As [`RunError`].
pub async fn run(settings: Settings, deps: Deps, shutdown: Shutdown) -> Result<(), RunError> {
    let app = build(settings, deps, &shutdown).await?;
    let bound = bind(listeners(&app))?;
    let mut jobs = jobs::spawn(&app);
    let served = bound.run(shutdown.clone()).await;
    // Also when a listener broke: nothing is left running behind a program that does not answer.
    shutdown.stop();
    while jobs.join_next().await.is_some() {}
    Ok(served?)
}
