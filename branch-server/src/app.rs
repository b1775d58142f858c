//! What the program consists of. Knows no handler and no route.

use std::sync::Arc;

use access::Access;
use access::audit::Audit;
use service_kit::background::Board;
use service_kit::database::{Pool, Wakeups};
use service_kit::server::Metrics;
use service_kit::{Clock, Shutdown};
use swarm::Engine;
use tokio::sync::Mutex;

use crate::artifacts::parts::Parts;
use crate::artifacts::store::Store;
use crate::config::Settings;
use crate::metrics::BranchMetrics;
use crate::plan::consider::Plans;
use crate::plan::kit::Kits;
use crate::plan::metadata::Metadata;
use crate::plan::poll::Poll;
use crate::reports::intake::Intake;
use crate::signals::Signals;
use crate::terminals::denied::Denied;
use crate::terminals::enrol::Enrolment;
use crate::terminals::join::Join;
use crate::terminals::streams::Streams;
use crate::terminals::tls::Tls;
use crate::upstream::head_office::HeadOffice;

/// Everything that handlers and background work use.
pub struct App {
    /// The settings.
    pub settings: Arc<Settings>,
    /// PostgreSQL.
    pub pool: Pool,
    /// Wakes event streams when the database has something new.
    pub wakeups: Wakeups,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The BitTorrent client.
    pub engine: Arc<dyn Engine>,
    /// Head office.
    pub head_office: Arc<dyn HeadOffice>,
    /// Signed metadata: believed here, and mirrored to terminals.
    pub metadata: Arc<Metadata>,
    /// The listeners' TLS.
    pub tls: Tls,
    /// Artifacts on disk.
    pub store: Store,
    /// The token that terminals enrol with.
    pub join: Arc<Join>,
    /// Operators, their sessions and tokens.
    pub access: Arc<Access>,
    /// The audit.
    pub audit: Arc<Audit>,
    /// HTTP metrics and the registry.
    pub http_metrics: Metrics,
    /// This program's metrics.
    pub metrics: BranchMetrics,
    /// The background tasks with their last results.
    pub board: Board,
    /// Wake-up calls.
    pub signals: Arc<Signals>,
    /// Considers offered plans.
    pub plans: Arc<Plans>,
    /// Asks head office for the newest plan.
    pub poll: Poll,
    /// Imports kits.
    pub kits: Kits,
    /// Held while the files of a kit arrive.
    pub carrying: Mutex<()>,
    /// Keeps the artifacts in step with the plan.
    pub artifacts: Parts,
    /// Takes reports of terminals in.
    pub intake: Intake,
    /// Certifies terminals.
    pub enrolment: Enrolment,
    /// Open event streams.
    pub streams: Arc<Streams>,
    /// What head office says must not be let in.
    pub denied: Arc<Denied>,
    /// When to stop.
    pub shutdown: Shutdown,
}
