//! The board as Prometheus metrics, computed when they are scraped.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Board;
use super::board::State;

/// Reads one figure of a task; none if it has none yet.
type Figure<T> = fn(&State) -> Option<T>;

impl Collector for Board {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counters: [(&str, &str, Figure<u64>); 2] = [
            ("background_runs", "Runs of background tasks that ended", |s| Some(s.status.runs)),
            ("background_failures", "Runs of background tasks that failed", |s| Some(s.status.failures)),
        ];
        for (name, help, figure) in counters {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for entry in self.entries() {
                let state = entry.state();
                let Some(value) = figure(&state) else { continue };
                let label = [("task", state.status.name.as_str())];
                ConstCounter::new(value).encode(family.encode_family(&label)?)?;
            }
        }
        let gauges: [(&str, &str, Figure<f64>); 2] = [
            ("background_last_success_timestamp_seconds", "When a background task last succeeded, in Unix time", |s| {
                s.succeeded.map(|at| at.timestamp() as f64)
            }),
            ("background_last_run_seconds", "How long the last run of a background task took", |s| {
                s.status.last.as_ref().map(|last| last.took_ms as f64 / 1000.0)
            }),
        ];
        for (name, help, figure) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for entry in self.entries() {
                let state = entry.state();
                let Some(value) = figure(&state) else { continue };
                let label = [("task", state.status.name.as_str())];
                ConstGauge::new(value).encode(family.encode_family(&label)?)?;
            }
        }
        Ok(())
    }
}
