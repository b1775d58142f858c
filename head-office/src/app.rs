//! What head office's handlers and jobs depend on, and the one route table of each listener: `main` and the tests
//! configure from here and from nowhere else.

use std::collections::BTreeSet;
use std::sync::Arc;

use actix_web::web::{self, ServiceConfig};
use service_kit::database::{Pool, Wakeups};
use service_kit::server::{ApiDocument, Check, Metrics, Readiness, Route, configure, document_routes, health_routes};
use service_kit::{Clock, Shutdown};
use swarm::Engine;

use crate::alerts::Alerts;
use crate::audit::anchor::Anchor;
use crate::config::Settings;
use crate::metrics::Counters;
use crate::operators::Guesses;
use crate::operators::doorkeeper::Doorkeeper;
use crate::operators::passwords::Passwords;
use crate::releases::claims::Claims;
use crate::renewals::Renewals;
use crate::rollout::apply::Issuer;
use crate::routes::{self, BranchCertificates, Streams};
use crate::store::Store;
use crate::tls::Tls;
use crate::tracker::Tracker;
use crate::trust::Trust;

/// Everything that handlers and jobs use. Made once; nothing is ambient.
pub struct App {
    /// What holds.
    pub settings: Settings,
    /// The database.
    pub pool: Pool,
    /// Wakes who waits for rows.
    pub wakeups: Wakeups,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The BitTorrent daemon.
    pub engine: Arc<dyn Engine>,
    /// The tracker.
    pub tracker: Tracker,
    /// The folders.
    pub store: Store,
    /// The signed metadata and the keys that sign online.
    pub trust: Trust,
    /// The fleet's authority, and the listeners' TLS.
    pub tls: Tls,
    /// Who writes which upload.
    pub claims: Claims,
    /// Numbers for Prometheus.
    pub metrics: Metrics,
    /// What is counted.
    pub counters: Counters,
    /// What somebody must look at.
    pub alerts: Alerts,
    /// The metadata may be due to be looked at.
    pub watch: tokio::sync::Notify,
    /// Something may be due to be put away.
    pub retire: tokio::sync::Notify,
    /// Torrents that the daemon must take anew.
    pub renewals: Renewals,
    /// Open event streams.
    pub streams: Streams,
    /// What compares passwords.
    pub passwords: Passwords,
    /// Wrong ones, counted.
    pub guesses: Guesses,
    /// How far the audit reaches, outside the database.
    pub anchor: Anchor,
    /// When to stop.
    pub shutdown: Shutdown,
}

impl App {
    /// What plans are issued with.
    pub fn issuer(&self) -> Issuer {
        Issuer { trust: self.trust.clone(), life: self.settings.plan.life }
    }
}

/// The routes of people's programs.
pub fn operator_routes() -> Vec<Route> {
    [routes::operators(), health_routes(), document_routes()].concat()
}

/// The routes of branch servers.
pub fn machine_routes() -> Vec<Route> {
    let health = health_routes().into_iter().filter(|r| r.path == wire::v1::paths::HEALTHZ);
    routes::machines().into_iter().chain(health).collect()
}

/// The groups of routes that a token's scope may name.
pub fn groups() -> Vec<String> {
    let known = routes::operators().into_iter().filter(|route| !route.role.is_open());
    known.map(|route| route.group().to_owned()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The operators' application.
pub fn configure_operators(config: &mut ServiceConfig, app: &Arc<App>) {
    shared(config, app);
    config
        .app_data(web::Data::new(ApiDocument(Arc::new(crate::api::document()))))
        .app_data(web::PayloadConfig::new(usize::MAX));
    configure(config, &operator_routes(), Arc::new(Doorkeeper::new(app.clone())));
}

/// The branch servers' application.
pub fn configure_machines(config: &mut ServiceConfig, app: &Arc<App>) {
    shared(config, app);
    configure(config, &machine_routes(), Arc::new(BranchCertificates::new(app.clone())));
}

fn shared(config: &mut ServiceConfig, app: &Arc<App>) {
    config
        .app_data(web::Data::from(app.clone()))
        .app_data(web::Data::new(app.metrics.clone()))
        .app_data(web::Data::new(readiness(app)));
}

fn readiness(app: &Arc<App>) -> Readiness {
    let (pool, engine) = (app.pool.clone(), app.engine.clone());
    Readiness(vec![
        Check::new("database", move || {
            let pool = pool.clone();
            async move { service_kit::database::ping(&pool).await.map_err(|e| e.to_string()) }
        }),
        Check::new("engine", move || {
            let engine = engine.clone();
            async move { engine.info().await.map(drop).map_err(|e| e.to_string()) }
        }),
    ])
}
