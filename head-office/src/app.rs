//! What head office's handlers and jobs depend on. Knows no route and no handler.

use std::sync::Arc;

use access::Access;
use access::audit::Audit;
use service_kit::background::Board;
use service_kit::database::{Pool, Wakeups};
use service_kit::server::Metrics;
use service_kit::{Clock, Shutdown};
use swarm::Engine;
use tokio::sync::Notify;

use crate::alerts::Alerts;
use crate::config::Settings;
use crate::fleet::events::Streams;
use crate::fleet::holders::Holders;
use crate::intake::Intake;
use crate::metrics::Counters;
use crate::releases::arriving::Uploads;
use crate::rollout::tick::Issuer;
use crate::seeding::seeder::Seeder;
use crate::seeding::tracker::Tracker;
use crate::stock::retention::Retention;
use crate::store::folders::Store;
use crate::trust::Trust;
use crate::trust::tls::Tls;

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
    pub tracker: Arc<Tracker>,
    /// The folders.
    pub store: Store,
    /// The signed metadata and the keys that sign online.
    pub trust: Trust,
    /// The fleet's authority, and the listeners' TLS.
    pub tls: Tls,
    /// Whose certificates make a connection no stranger's.
    pub holders: Arc<Holders>,
    /// Uploads whose archives are arriving.
    pub uploads: Uploads,
    /// Numbers for Prometheus.
    pub metrics: Metrics,
    /// What is counted.
    pub counters: Counters,
    /// The background tasks with their last results.
    pub background: Board,
    /// What needs an operator's attention.
    pub alerts: Arc<Alerts>,
    /// The metadata may be due to be looked at.
    pub watch: Arc<Notify>,
    /// Puts artifacts away.
    pub retention: Retention,
    /// Something may be due to be put away.
    pub retire: Arc<Notify>,
    /// Gives artifacts to the daemon.
    pub seeder: Seeder,
    /// Daemon and tracker may be out of step.
    pub reseed: Arc<Notify>,
    /// Takes reports of branches in.
    pub intake: Intake,
    /// What plans are issued with.
    pub issuer: Issuer,
    /// Plans may be due.
    pub replan: Arc<Notify>,
    /// Plans are to follow reports later.
    pub delayed: Arc<Notify>,
    /// Open event streams.
    pub streams: Streams,
    /// Operators, their sessions and tokens.
    pub access: Arc<Access>,
    /// The audit.
    pub audit: Arc<Audit>,
    /// When to stop.
    pub shutdown: Shutdown,
}
