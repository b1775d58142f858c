//! What head office counts, beside its HTTP requests. The README has the list.

use std::sync::atomic::AtomicU64;

use chrono::{DateTime, Utc};
use fleet_types::ReleaseState;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use service_kit::database::{DatabaseError, GenericClient};
use service_kit::server::Metrics;

use crate::db;
use crate::trust::Expiry;

/// The label of a kind of job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Freshness {
    heard: &'static str,
}

/// The label of a role of the signed metadata.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRole {
    role: String,
}

type Number = Gauge<u64, AtomicU64>;

/// Current counts; the `gauges` task refreshes them, a scrape only reads them.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    releases: Family<State, Number>,
    artifacts_seeded: Number,
    artifact_bytes: Number,
    archive_bytes: Number,
    branches: Family<Freshness, Number>,
    metadata_expires: Family<OfRole, Gauge>,
}

impl Gauges {
    fn registered(metrics: &Metrics) -> Self {
        let this = Self::default();
        metrics.register("releases", "Releases by state", this.releases.clone());
        metrics.register("artifacts_seeded", "Artifacts that are to be seeded", this.artifacts_seeded.clone());
        metrics.register("store_artifact_bytes", "Bytes of the artifacts in the store", this.artifact_bytes.clone());
        let help = "Bytes of the archives that are in the store or promised room there";
        metrics.register("store_archive_bytes", help, this.archive_bytes.clone());
        let help = "Branches by when their servers were last heard";
        metrics.register("branches", help, this.branches.clone());
        let help = "Seconds until a role of the signed metadata expires; negative once it has";
        metrics.register("metadata_expires_seconds", help, this.metadata_expires.clone());
        this
    }

    /// When the roles of the signed metadata expire.
    pub fn metadata_expires(&self, expiries: &[Expiry], now: DateTime<Utc>) {
        // A role that is gone is not shown as if it still ran.
        self.metadata_expires.clear();
        for expiry in expiries {
            let role = OfRole { role: expiry.role.to_string() };
            self.metadata_expires.get_or_create(&role).set((expiry.at - now).num_seconds());
        }
    }

    /// Looks all of them up.
    ///
    /// # Errors
    /// The database failed.
    pub async fn refresh<C: GenericClient>(&self, c: &C, now: DateTime<Utc>) -> Result<(), DatabaseError> {
        let counts = db::releases::count_by_state(c).await?;
        for state in ReleaseState::ALL {
            let count = counts.iter().find(|(s, _)| s == state).map_or(0, |(_, n)| u64::try_from(*n).unwrap_or(0));
            self.releases.get_or_create(&State { state: state.as_str() }).set(count);
        }
        self.artifacts_seeded.set(db::artifacts::count_seeded(c).await?);
        let (artifacts, archives) = db::artifacts::store_use(c).await?;
        self.artifact_bytes.set(artifacts);
        self.archive_bytes.set(archives);
        for (heard, count) in db::branches::count_by_freshness(c, now).await? {
            self.branches.get_or_create(&Freshness { heard }).set(count);
        }
        Ok(())
    }
}

/// The counters. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    upload_bytes: Counter,
    attempts: Family<Kind, Counter>,
    failed_attempts: Family<Kind, Counter>,
    plans: Counter,
    unknown_reports: Counter,
    states_not_taken: Counter,
    /// What there is now.
    pub gauges: Gauges,
}

impl Counters {
    /// Counters that `metrics` shows.
    pub fn registered(metrics: &Metrics) -> Self {
        let this = Self { gauges: Gauges::registered(metrics), ..Self::default() };
        metrics.register("job_attempts", "Attempts of background jobs that began", this.attempts.clone());
        metrics.register("upload_bytes", "Bytes of archives stored durably", this.upload_bytes.clone());
        let help = "Attempts of background jobs that failed";
        metrics.register("job_attempts_failed", help, this.failed_attempts.clone());
        metrics.register("plans_issued", "Plans issued", this.plans.clone());
        let help = "Reports of kinds that this version does not know; they were acknowledged and skipped";
        metrics.register("unknown_reports", help, this.unknown_reports.clone());
        let help =
            "Reported states of terminals that do not count: not signed by the terminal, or older than what is known";
        metrics.register("states_not_taken", help, this.states_not_taken.clone());
        this
    }

    /// So many bytes of an archive were stored.
    pub fn uploaded(&self, bytes: u64) {
        self.upload_bytes.inc_by(bytes);
    }

    /// An attempt of a job began.
    pub fn attempt_began(&self, kind: &'static str) {
        self.attempts.get_or_create(&Kind { kind }).inc();
    }

    /// An attempt of a job failed.
    pub fn attempt_failed(&self, kind: &'static str) {
        self.failed_attempts.get_or_create(&Kind { kind }).inc();
    }

    /// Counts plans that were issued.
    pub fn plans_issued(&self, plans: u64) {
        self.plans.inc_by(plans);
    }

    /// Counts states of terminals that do not count.
    pub fn states_not_taken(&self, states: u64) {
        self.states_not_taken.inc_by(states);
    }

    /// Counts reports of kinds that this version does not know.
    pub fn unknown_reports(&self, reports: u64) {
        self.unknown_reports.inc_by(reports);
    }
}
