//! The numbers of this program for Prometheus. README.md lists them with their meaning.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use service_kit::server::Metrics;

type Number = Gauge<u64, AtomicU64>;

/// Counters and gauges. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct BranchMetrics {
    /// Terminals that enrolled.
    pub terminals: Number,
    /// Event streams that are open.
    pub streams: Number,
    /// Serial of the plan that is followed.
    pub plan_serial: Number,
    /// When the signed metadata expires, in seconds since 1970.
    pub metadata_expires: Number,
    /// Plans of head office that were refused.
    pub plans_refused: Counter,
    /// Artifacts that a plan named and that are not forgotten.
    pub artifacts: Number,
    /// Those of them that are complete and checked.
    pub artifacts_held: Number,
    /// Bytes of artifacts verified on the disk.
    pub artifact_bytes: Number,
    /// Complete files that were not what the plan names.
    pub mismatches: Counter,
    /// Reports of terminals that were stored.
    pub reports_stored: Counter,
    /// Reports of kinds that this version does not know.
    pub reports_unknown: Counter,
    /// States that their terminal did not sign.
    pub reports_unproven: Counter,
    /// Requests with numbers that were used twice.
    pub numbers_reused: Counter,
    /// Reports that wait for head office.
    pub relay_waiting: Number,
    /// Reports that head office acknowledged.
    pub relay_delivered: Counter,
    /// Reports that head office did not take.
    pub relay_set_aside: Counter,
    /// When head office last answered, in seconds since 1970.
    pub head_office_heard: Number,
}

impl BranchMetrics {
    /// Fresh numbers, registered with `metrics`.
    pub fn register(metrics: &Metrics) -> Self {
        let this = Self::default();
        let m = this.clone();
        metrics.register("branch_terminals", "Terminals that enrolled", m.terminals);
        metrics.register("branch_event_streams", "Event streams of terminals that are open", m.streams);
        metrics.register("branch_plan_serial", "Serial of the plan that is followed", m.plan_serial);
        metrics.register(
            "branch_metadata_expires_timestamp_seconds",
            "When the signed metadata expires, in seconds since 1970",
            m.metadata_expires,
        );
        metrics.register("branch_plans_refused", "Plans of head office that were refused", m.plans_refused);
        metrics.register("branch_artifacts", "Artifacts that this server has a record of", m.artifacts);
        metrics.register("branch_artifacts_held", "Artifacts that are complete and checked", m.artifacts_held);
        metrics.register("branch_artifact_bytes", "Bytes of artifacts verified on the disk", m.artifact_bytes);
        metrics.register("branch_artifact_mismatches", "Complete files that were not as planned", m.mismatches);
        metrics.register("branch_reports_stored", "Reports of terminals that were stored", m.reports_stored);
        metrics.register(
            "branch_reports_unknown",
            "Reports of kinds that this version does not know: acknowledged and skipped",
            m.reports_unknown,
        );
        metrics.register(
            "branch_numbers_reused",
            "Requests of terminals that were refused because their report numbers were used twice",
            m.numbers_reused,
        );
        metrics.register(
            "branch_reports_unproven",
            "States that their terminal did not sign: named to it and skipped",
            m.reports_unproven,
        );
        metrics.register("branch_relay_waiting", "Reports that wait for head office", m.relay_waiting);
        metrics.register("branch_relay_delivered", "Reports that head office acknowledged", m.relay_delivered);
        metrics.register("branch_relay_set_aside", "Reports that head office did not take", m.relay_set_aside);
        metrics.register(
            "branch_head_office_heard_timestamp_seconds",
            "When head office last answered, in seconds since 1970",
            m.head_office_heard,
        );
        this
    }
}
