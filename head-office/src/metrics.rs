//! What head office counts, beside its HTTP requests. The README has the list.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use service_kit::server::Metrics;

/// The label of a kind of job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// The counters. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    upload_bytes: Counter,
    failed_attempts: Family<Kind, Counter>,
    plans: Counter,
}

impl Counters {
    /// Counters that `metrics` shows.
    pub fn registered(metrics: &Metrics) -> Self {
        let this = Self::default();
        metrics.register("upload_bytes", "Bytes of archives stored durably", this.upload_bytes.clone());
        let help = "Attempts of background jobs that failed";
        metrics.register("job_attempts_failed", help, this.failed_attempts.clone());
        metrics.register("plans_issued", "Plans issued", this.plans.clone());
        this
    }

    /// So many bytes of an archive were stored.
    pub fn uploaded(&self, bytes: u64) {
        self.upload_bytes.inc_by(bytes);
    }

    /// An attempt of a job failed.
    pub fn attempt_failed(&self, kind: &'static str) {
        self.failed_attempts.get_or_create(&Kind { kind }).inc();
    }

    /// A plan was issued.
    pub fn plan_issued(&self) {
        self.plans.inc();
    }
}
