//! What the program consists of, and its two route tables: used by `main` and by tests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use fleet_types::TerminalName;
use service_kit::database::{Pool, Wakeups, ping};
use service_kit::server::{
    self, ApiDocument, Check, Health, Metrics, OperatorTokens, Readiness, Role, Route, document_routes, health_routes,
};
use service_kit::{Clock, Shutdown};
use swarm::{AccessList, Engine};
use tokio::sync::Notify;
use wire::v1::paths;

use crate::config::Settings;
use crate::join::Join;
use crate::metadata::Metadata;
use crate::metrics::BranchMetrics;
use crate::routes::{
    TerminalCertificates, artifacts, console, enrol, identities, kit, metadata, openapi, terminals as machines,
};
use crate::store::Store;
use crate::sync::check::Checks;
use crate::tls::Tls;
use crate::upstream::HeadOffice;

/// The audience of events for terminals.
pub const TERMINALS: &str = "terminals";

/// Event streams that one terminal may hold: one in use, one that it has not noticed to be dead.
const STREAMS_EACH: usize = 2;

/// Wakes the jobs of this process; a lost call costs them one interval.
#[derive(Debug, Default)]
pub struct Signals {
    /// Head office has something new.
    pub sync: Notify,
    /// The artifacts are to be looked at.
    pub pass: Notify,
    /// Reports wait.
    pub relay: Notify,
}

/// Everything that jobs and handlers work with.
pub struct App {
    /// What holds.
    pub settings: Settings,
    /// PostgreSQL.
    pub pool: Pool,
    /// Wakes those who wait for events.
    pub wakeups: Wakeups,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The BitTorrent daemon.
    pub engine: Arc<dyn Engine>,
    /// What the branch's tracker accepts.
    pub tracker: AccessList,
    /// Head office.
    pub head_office: Arc<dyn HeadOffice>,
    /// Signed metadata: what is believed, and mirrored to terminals.
    pub metadata: Metadata,
    /// The listeners' TLS.
    pub tls: Tls,
    /// Artifacts on disk.
    pub store: Store,
    /// The token that terminals enrol with.
    pub join: Join,
    /// Who may use the operators' listener.
    pub operators: OperatorTokens,
    /// HTTP numbers and the registry.
    pub http_metrics: Metrics,
    /// This program's numbers.
    pub metrics: BranchMetrics,
    /// Wakes jobs.
    pub signals: Signals,
    /// Held by whoever judges an offered plan.
    pub considering: tokio::sync::Mutex<()>,
    /// Held by whoever sends the files of a kit.
    pub carrying: tokio::sync::Mutex<()>,
    /// Checks of complete artifacts that are running.
    pub checks: Checks,
    /// Open event streams.
    pub streams: Arc<Streams>,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// The open event streams, oldest first, bounded for each terminal.
#[derive(Debug, Default)]
pub struct Streams(Mutex<BTreeMap<TerminalName, VecDeque<Arc<Notify>>>>);

/// A terminal's right to one stream; given back when it is dropped.
#[derive(Debug)]
pub struct StreamPermit {
    streams: Arc<Streams>,
    terminal: TerminalName,
    end: Arc<Notify>,
}

impl Streams {
    /// One more stream for `terminal`; beyond its bound the oldest ends. That one is more likely to be dead than the
    /// new one, and a terminal behind a broken connection must not be kept out by its own past.
    pub fn open(self: &Arc<Self>, terminal: &TerminalName) -> StreamPermit {
        let end = Arc::new(Notify::new());
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let streams = open.entry(terminal.clone()).or_default();
        streams.push_back(end.clone());
        if streams.len() > STREAMS_EACH
            && let Some(oldest) = streams.pop_front()
        {
            oldest.notify_one();
        }
        StreamPermit { streams: self.clone(), terminal: terminal.clone(), end }
    }

    /// Ends all streams of `terminal`.
    pub fn end(&self, terminal: &TerminalName) {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(terminal).into_iter().flatten().for_each(|end| end.notify_one());
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().map(VecDeque::len).sum()
    }
}

impl StreamPermit {
    /// Waits until a newer stream took its place.
    pub async fn ended(&self) {
        self.end.notified().await;
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(streams) = open.get_mut(&self.terminal) {
            streams.retain(|end| !Arc::ptr_eq(end, &self.end));
            if streams.is_empty() {
                open.remove(&self.terminal);
            }
        }
    }
}

/// The routes of the operators' listener.
pub fn operator_routes() -> Vec<Route> {
    let mut routes = vec![
        Route::get(paths::STATUS, Role::Viewer, || web::to(console::status)),
        Route::get(paths::TERMINALS, Role::Viewer, || web::to(console::terminals)),
        Route::get("/v1/terminals/{name}/identity", Role::Viewer, || web::to(identities::identity)),
        Route::post("/v1/terminals/{name}/deny", Role::Admin, || web::to(identities::deny)),
        Route::post("/v1/terminals/{name}/allow", Role::Admin, || web::to(identities::allow)),
        Route::post(paths::KIT, Role::Operator, || web::to(kit::import)).with_long_body(),
        Route::new(Method::PUT, "/v1/kit/artifacts/{sha256}", Role::Operator, || web::to(kit::artifact))
            .with_long_body(),
        Route::get(paths::KIT_REPORTS, Role::Operator, || web::to(kit::reports)),
    ];
    routes.extend(health_routes());
    routes.extend(document_routes());
    routes
}

/// The routes of the machines' listener.
pub fn machine_routes() -> Vec<Route> {
    vec![
        Route::post(paths::ENROL, Role::JoinToken, || web::to(enrol::enrol)),
        Route::get(paths::SYNC, Role::Terminal, || web::to(machines::sync)),
        Route::get(paths::EVENTS, Role::Terminal, || web::to(machines::events)),
        Route::post(paths::REPORTS, Role::Terminal, || web::to(machines::reports)),
        Route::get("/v1/artifacts/{sha256}/index", Role::Terminal, || web::to(artifacts::index)),
        Route::get("/v1/artifacts/{sha256}/torrent", Role::Terminal, || web::to(artifacts::torrent)),
        Route::get("/v1/manifests/{sha256}", Role::Terminal, || web::to(artifacts::manifest)),
        Route::get("/v1/metadata/{name}", Role::Terminal, || web::to(metadata::metadata)),
        Route::get("/healthz", Role::Public, || web::to(healthz)),
    ]
}

/// The machines' listener says no more than that it runs.
async fn healthz() -> actix_web::HttpResponse {
    actix_web::HttpResponse::Ok().json(Health { status: "ok".to_owned() })
}

/// The application of the operators' listener.
pub fn configure_operators(app: &Arc<App>, config: &mut ServiceConfig) {
    config
        .app_data(web::Data::from(app.clone()))
        .app_data(web::Data::new(readiness(app)))
        .app_data(web::Data::new(app.http_metrics.clone()))
        .app_data(web::Data::new(ApiDocument(Arc::new(openapi::document()))));
    server::configure(config, &operator_routes(), Arc::new(app.operators.clone()));
}

/// The application of the machines' listener.
pub fn configure_machines(app: &Arc<App>, config: &mut ServiceConfig) {
    config.app_data(web::Data::from(app.clone()));
    server::configure(config, &machine_routes(), Arc::new(TerminalCertificates::new(app.clone())));
}

/// What the program cannot do its work without. Head office is not among it: a branch works on while it is away.
fn readiness(app: &Arc<App>) -> Readiness {
    let (database, engine) = (app.clone(), app.clone());
    Readiness(vec![
        Check::new("database", move || {
            let app = database.clone();
            async move { ping(&app.pool).await.map_err(|e| service_kit::edge::chain(&e)) }
        }),
        Check::new("engine", move || {
            let app = engine.clone();
            async move { app.engine.info().await.map(drop).map_err(|e| service_kit::edge::chain(&e)) }
        }),
    ])
}
