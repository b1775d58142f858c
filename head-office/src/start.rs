//! Starts head office: takes up its folders, keys, database and addresses, then serves and works in the background.

use std::net::SocketAddr;
use std::sync::Arc;

use access::anchor::Anchor;
use access::audit::Audit;
use access::bootstrap::{Bootstrap, BootstrapError};
use access::guesses::Guesses;
use access::passwords::{PasswordError, Passwords};
use access::recover::RecoverError;
use access::token_pace::TokenPace;
use access::{Access, HEAD_OFFICE};
use fleet_types::OperatorName;
use service_kit::age::older_than;
use service_kit::background::{Board, Driver};
use service_kit::database::{DatabaseError, Runner, RunnerSettings, Wakeups, connect, connection, jobs as job_table};
use service_kit::server::{Bound, Listener, Metrics, ServeError, Transport, bind};
use service_kit::steady::SteadyTime;
use service_kit::turns::Turns;
use service_kit::{Clock, Secret, Shutdown};
use swarm::{AccessList, AccessListError, Engine};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::config::Settings;
use crate::fleet::holders::Holders;
use crate::http::table;
use crate::intake::Intake;
use crate::releases::arriving::Uploads;
use crate::releases::{upkeep, vouching};
use crate::rollout::tick::Issuer;
use crate::seeding::seeder::Seeder;
use crate::seeding::tracker::Tracker;
use crate::stock::retention::Retention;
use crate::store::claims::Claims;
use crate::store::folders::{Store, StoreError};
use crate::trust::tls::Tls;
use crate::trust::{Trust, TrustError};
use crate::{app, background, db, fleet, metrics, stock};

/// What is given from outside: the time and the BitTorrent daemon.
pub struct Deps {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The BitTorrent daemon.
    pub engine: Arc<dyn Engine>,
    /// How jobs are held and repeated.
    pub jobs: RunnerSettings,
}

/// Why head office does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The database cannot be used.
    #[error("the database cannot be used")]
    Database(#[from] DatabaseError),
    /// The store cannot be used.
    #[error("the store cannot be used")]
    Store(#[from] StoreError),
    /// The tracker's list cannot be set up.
    #[error("the tracker's access list cannot be set up")]
    Tracker(#[from] AccessListError),
    /// A listener cannot be used.
    #[error("a listener cannot be used")]
    Serve(#[from] ServeError),
    /// Passwords cannot be dealt with.
    #[error("passwords cannot be dealt with")]
    Passwords(#[from] PasswordError),
    /// Signed metadata or its keys cannot be used.
    #[error("the signed metadata or the keys of [trust] cannot be used")]
    Trust(#[from] TrustError),
    /// The fleet's authority or the listeners' certificates cannot be used.
    #[error("{} {}", .0.sentence(), .0.remedy())]
    Tls(::trust::Refusal),
    /// A thread failed.
    #[error("starting failed")]
    Worker(#[from] tokio::task::JoinError),
}

/// Head office with its addresses taken; it answers while [`Running::run`] is polled.
pub struct Running {
    bound: Bound,
    runners: Vec<JoinHandle<()>>,
    driver: Driver,
    shutdown: Shutdown,
}

/// Runs until `shutdown`.
///
/// # Errors
/// It cannot start, or a listener broke.
pub async fn run(settings: Settings, deps: Deps, shutdown: Shutdown) -> Result<(), RunError> {
    start(settings, deps, shutdown).await?.run().await
}

/// Opens folders, keys, database and listeners, and starts the background work.
///
/// Waits for PostgreSQL and brings the schema up to date.
///
/// # Errors
/// Something of that cannot be done.
pub async fn start(settings: Settings, deps: Deps, shutdown: Shutdown) -> Result<Running, RunError> {
    // First of all: nothing is touched as long as it is not known who may say what.
    let trust_settings = settings.trust.clone();
    let trust = tokio::task::spawn_blocking(move || Trust::open(&trust_settings)).await??;
    let store_settings = settings.store.clone();
    let store = tokio::task::spawn_blocking(move || Store::open(&store_settings)).await??;
    let (tls_settings, clock) = (settings.tls.clone(), deps.clock.clone());
    let opened = tokio::task::spawn_blocking(move || Tls::open(&tls_settings, clock)).await?;
    let tls = opened.map_err(RunError::Tls)?;
    let pool = connect(&settings.database, &shutdown).await?;
    db::migrate(&pool).await?;
    // The store is ours alone, so whatever its name still holds belongs to a process that is dead.
    let released = job_table::release_all_of(&connection(&pool).await?, store.instance()).await?;
    if released > 0 {
        tracing::info!(released, "jobs of the process before this one are taken up again");
    }
    let wakeups = Wakeups::listen(&settings.database, shutdown.clone())?;
    let access_list = AccessList::new(settings.tracker.access_list.clone())?;
    let runner = Runner { pool: pool.clone(), clock: deps.clock.clone(), owner: store.instance(), settings: deps.jobs };
    let (people, machines) = (settings.operators_listen, settings.machines_listen);
    let metrics = Metrics::new();
    let board = Board::default();
    metrics.register_collector(Box::new(board.clone()));
    let shown = metrics.clone();
    let passwords = tokio::task::spawn_blocking(move || Passwords::new(&shown)).await??;
    let anchor = Anchor::open(&connection(&pool).await?, &settings.store.state_folder).await?;
    let clock = deps.clock;
    let audit = Arc::new(Audit::new(clock.clone(), anchor));
    let access = Arc::new(Access {
        server: HEAD_OFFICE,
        settings: settings.access,
        pool: pool.clone(),
        clock: clock.clone(),
        state_folder: settings.store.state_folder.clone(),
        passwords,
        guesses: Guesses::default(),
        token_pace: TokenPace::default(),
        audit: audit.clone(),
        groups: table::groups(),
    });
    let holders = Arc::<Holders>::default();
    holders.refresh(&connection(&pool).await?).await?;
    let tracker = Arc::new(Tracker::new(access_list));
    let counters = metrics::Counters::registered(&metrics);
    let issuer = Issuer { trust: trust.clone(), life: settings.plan.life };
    let (watch, reseed, delayed) = (Arc::<Notify>::default(), Arc::<Notify>::default(), Arc::<Notify>::default());
    upkeep::remove_unknown_archives(&pool, &store).await?;
    let (now, seed_for) = (clock.now(), settings.store.seed_for);
    let mut steady = SteadyTime::open(&settings.store.state_folder, seed_for);
    let kept_since = older_than(seed_for, steady.look(&*clock), now);
    stock::taking::take_stock(&pool, &store, kept_since).await?;
    vouching::renew(&trust, clock.now()).await;
    let seeder = Seeder {
        engine: deps.engine.clone(),
        pool: pool.clone(),
        store: store.clone(),
        announce_url: settings.tracker.announce_url.clone(),
    };
    let uploads = Uploads {
        pool: pool.clone(),
        clock: clock.clone(),
        store: store.clone(),
        claims: Claims::default(),
        audit: audit.clone(),
        abandon_after: settings.uploads.abandon_after,
    };
    let retention = Retention {
        pool: pool.clone(),
        clock: clock.clone(),
        store: store.clone(),
        engine: deps.engine.clone(),
        tracker: tracker.clone(),
        watch: watch.clone(),
        seed_for,
        steady: steady.into(),
    };
    let intake = Intake {
        pool: pool.clone(),
        clock: clock.clone(),
        issuer: issuer.clone(),
        audit: audit.clone(),
        counters: counters.clone(),
        reseed: reseed.clone(),
        delayed: delayed.clone(),
        turns: Turns::new(1, usize::MAX),
    };
    let app = Arc::new(app::App {
        settings,
        pool,
        wakeups: wakeups.clone(),
        clock,
        engine: deps.engine,
        tracker,
        store,
        trust,
        tls: tls.clone(),
        holders: holders.clone(),
        uploads,
        counters,
        metrics,
        background: board,
        alerts: Arc::default(),
        watch,
        retention,
        retire: Arc::default(),
        seeder,
        reseed,
        intake,
        issuer,
        replan: Arc::default(),
        delayed,
        streams: fleet::events::Streams::default(),
        access,
        audit,
        shutdown: shutdown.clone(),
    });
    let (to_people, to_machines) = (tls.clone(), tls.clone());
    let to_people = Transport::Tls(Arc::new(move || to_people.people()));
    let to_machines = Transport::Mutual(
        Arc::new(move || to_machines.machines()),
        Arc::new(move |presented| tls.check(presented).ok().and_then(|checked| holders.name(&checked))),
    );
    let bound = bind(vec![
        listener("operators", people, to_people, &app, table::configure_operators),
        listener("machines", machines, to_machines, &app, table::configure_machines),
    ])?;
    let runners = runner.spawn(background::handlers(&app), &wakeups, &shutdown);
    let mut driver = Driver::new(app.background.clone(), app.clock.clone(), shutdown.clone());
    background::start(&mut driver, &app);
    Ok(Running { bound, runners, driver, shutdown })
}

/// Makes the first admin, as [`access::console::bootstrap`].
///
/// # Errors
/// There is an admin, or it cannot be done.
pub async fn bootstrap(settings: &Settings, clock: &dyn Clock, wish: Bootstrap) -> Result<(), BootstrapError> {
    access::console::bootstrap(HEAD_OFFICE, &settings.database, db::migrate, clock, wish).await
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
    access::console::recover(HEAD_OFFICE, &settings.database, db::migrate, clock, name, password).await
}

fn listener(
    name: &'static str,
    address: SocketAddr,
    transport: Transport,
    app: &Arc<app::App>,
    configure: fn(&mut actix_web::web::ServiceConfig, &Arc<app::App>),
) -> Listener {
    let (metrics, limits, app) = (app.metrics.clone(), app.settings.limits.clone(), app.clone());
    let configure = Arc::new(move |config: &mut actix_web::web::ServiceConfig| configure(config, &app));
    Listener { name, address, configure, metrics, limits, transport }
}

impl Running {
    /// Where people's programs connect.
    pub fn operators(&self) -> SocketAddr {
        self.bound.addresses()[0]
    }

    /// Where branch servers connect.
    pub fn machines(&self) -> SocketAddr {
        self.bound.addresses()[1]
    }

    /// Answers until shutdown, then waits for the jobs to put their leases back.
    ///
    /// # Errors
    /// A listener broke.
    pub async fn run(self) -> Result<(), RunError> {
        let result = self.bound.run(self.shutdown.clone()).await;
        self.shutdown.stop();
        for runner in self.runners {
            if let Err(error) = runner.await {
                tracing::error!(%error, "a runner of jobs panicked");
            }
        }
        self.driver.ended().await;
        Ok(result?)
    }
}
