//! Starts the program: puts its parts together and runs listeners and background work.

use std::path::PathBuf;
use std::sync::Arc;

use access::BRANCH_SERVER;
use access::bootstrap::{Bootstrap, BootstrapError};
use access::recover::RecoverError;
use chrono::DateTime;
use fleet_types::OperatorName;
use service_kit::background::Board;
use service_kit::database::{DatabaseError, Wakeups, connect};
use service_kit::server::{Listener, Metrics, ServeError, Transport, bind};
use service_kit::turns::Turns;
use service_kit::{Clock, Secret, Shutdown, SystemClock};
use swarm::{AccessList, AccessListError, Engine, EngineError};
use trust::certificates::{FleetTime, fingerprint};
use trust::client::{Client, Limits};

use crate::app::App;
use crate::artifacts::parts::Parts;
use crate::artifacts::store::Store;
use crate::config::Settings;
use crate::http::table::{configure_machines, configure_operators, groups};
use crate::metrics::BranchMetrics;
use crate::operators::OperatorsError;
use crate::plan::consider::Plans;
use crate::plan::kit::Kits;
use crate::plan::metadata::Metadata;
use crate::plan::poll::Poll;
use crate::reports::intake::Intake;
use crate::reports::proofs::Pace;
use crate::signals::Signals;
use crate::terminals::denied::Denied;
use crate::terminals::enrol::Enrolment;
use crate::terminals::join::{Join, JoinTokenError};
use crate::terminals::streams::Streams;
use crate::terminals::tls::Tls;
use crate::upstream::client::HttpHeadOffice;
use crate::upstream::head_office::{HeadOffice, UpstreamError};
use crate::{background, db, operators};

/// Why the program cannot start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The operators.
    #[error(transparent)]
    Operators(#[from] OperatorsError),
    /// A folder cannot be made.
    #[error("the folder {} cannot be created: check the owner of its parent", path.display())]
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

/// The dependencies that a test may replace.
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
    /// Makes the real ones from the settings.
    ///
    /// # Errors
    /// An address cannot be used, or the identity cannot be read.
    pub fn real(settings: &Settings) -> Result<Self, RunError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let time = FleetTime::new(clock.clone(), DateTime::UNIX_EPOCH);
        let head_office = HttpHeadOffice::new(&settings.head_office, &settings.state_folder, time.clone())?;
        Ok(Self { clock, time, engine: settings.engine.open()?, head_office: Arc::new(head_office) })
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
    let tracker = Arc::new(AccessList::new(settings.access_list())?);
    let pool = connect(&settings.database, shutdown).await?;
    db::migrate(&pool).await?;
    let join = Join::new(&settings.terminals);
    if let Some(identity) = deps.head_office.identity() {
        join.load(&pool, fingerprint(&identity.authority), deps.clock.now()).await?;
    }
    let (http_metrics, board) = (Metrics::new(), Board::default());
    http_metrics.register_collector(Box::new(board.clone()));
    let access = operators::open(&settings, &pool, &deps.clock, &http_metrics, groups()).await?;
    let audit = access.audit.clone();
    let (metrics, signals) = (BranchMetrics::register(&http_metrics), Arc::new(Signals::default()));
    let (settings, metadata, join) = (Arc::new(settings), Arc::new(metadata), Arc::new(join));
    let Deps { clock, engine, head_office, .. } = deps;
    let store = Store::new(settings.store.folder.clone(), settings.store.budget_bytes, engine.content_names());
    let plans = Arc::new(Plans {
        pool: pool.clone(),
        clock: clock.clone(),
        metadata: metadata.clone(),
        metrics: metrics.clone(),
        signals: signals.clone(),
        audit: audit.clone(),
        considering: tokio::sync::Mutex::default(),
    });
    let (denied, pace, streams): (Arc<Denied>, Arc<Pace>, Arc<Streams>) = Default::default();
    Ok(Arc::new(App {
        wakeups: Wakeups::listen(&settings.database, shutdown.clone())?,
        poll: Poll {
            pool: pool.clone(),
            clock: clock.clone(),
            head_office: head_office.clone(),
            join: join.clone(),
            plans: plans.clone(),
            denied: denied.clone(),
            streams: streams.clone(),
        },
        kits: Kits {
            pool: pool.clone(),
            clock: clock.clone(),
            plans: plans.clone(),
            metadata: metadata.clone(),
            signals: signals.clone(),
            audit: audit.clone(),
        },
        artifacts: Parts {
            pool: pool.clone(),
            clock: clock.clone(),
            engine: engine.clone(),
            tracker,
            store: store.clone(),
            head_office: head_office.clone(),
            settings: settings.clone(),
            metrics: metrics.clone(),
            signals: signals.clone(),
            checks: Arc::default(),
            shutdown: shutdown.clone(),
        },
        intake: Intake {
            pool: pool.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            signals: signals.clone(),
            max_waiting: settings.relay.max_waiting,
            turns: Turns::new(1, usize::MAX),
            turns_of_terminal: Turns::new(1, usize::MAX),
            pace: pace.clone(),
        },
        enrolment: Enrolment {
            pool: pool.clone(),
            clock: clock.clone(),
            join: join.clone(),
            tls: tls.clone(),
            signals: signals.clone(),
            denied: denied.clone(),
            pace,
            max: settings.terminals.max,
        },
        pool,
        clock,
        engine,
        head_office,
        metadata,
        tls,
        store,
        join,
        access,
        audit,
        metrics,
        http_metrics,
        board,
        signals,
        plans,
        carrying: tokio::sync::Mutex::default(),
        streams,
        denied,
        shutdown: shutdown.clone(),
        settings,
    }))
}

/// Makes the first admin, as [`access::console::bootstrap`].
///
/// # Errors
/// There is an admin, or it cannot be done.
pub async fn bootstrap(settings: &Settings, clock: &dyn Clock, wish: Bootstrap) -> Result<(), BootstrapError> {
    access::console::bootstrap(BRANCH_SERVER, &settings.database, db::migrate, clock, wish).await
}

/// Gives an admin a new password, as [`access::console::recover`].
///
/// # Errors
/// As [`RecoverError`].
pub async fn recover(
    settings: &Settings,
    clock: &dyn Clock,
    name: &OperatorName,
    password: &Secret,
) -> Result<(u64, u64), RecoverError> {
    access::console::recover(BRANCH_SERVER, &settings.database, db::migrate, clock, name, password).await
}

/// The two listeners of `app`.
pub fn listeners(app: &Arc<App>) -> Vec<Listener> {
    let (operators, machines) = (app.clone(), app.clone());
    let (to_people, to_machines, holders) = (app.tls.clone(), app.tls.clone(), app.clone());
    vec![
        Listener {
            name: "operators",
            address: app.settings.operators.listen,
            configure: Arc::new(move |config| configure_operators(&operators, config)),
            metrics: app.http_metrics.clone(),
            limits: app.settings.limits.clone(),
            transport: Transport::Tls(Arc::new(move || to_people.people())),
        },
        Listener {
            name: "machines",
            address: app.settings.machines_listen,
            configure: Arc::new(move |config| configure_machines(&machines, config)),
            metrics: app.http_metrics.clone(),
            limits: app.settings.limits.clone(),
            transport: Transport::Mutual(
                Arc::new(move || to_machines.machines()),
                Arc::new(move |presented| holders.enrolment.holder(presented)),
            ),
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
    let tasks = background::start(&app);
    let served = bound.run(shutdown.clone()).await;
    // Also when a listener failed: no background task may outlive the listeners.
    shutdown.stop();
    tasks.ended().await;
    Ok(served?)
}
