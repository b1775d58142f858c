//! Numbers for Prometheus. A registry is a value that the program makes and passes on, never a global.

use std::sync::{Arc, Mutex, PoisonError};

use actix_web::http::Method;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Metric, Registry};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    path: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    listener: &'static str,
    bound: &'static str,
}

/// A program's metrics. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    requests: Family<RequestLabels, Counter>,
    refused: Family<RefusedLabels, Counter>,
}

impl Metrics {
    /// An empty set whose names begin with `filial_`, with counters of HTTP requests and of connections
    /// that were refused.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("filial");
        let requests = Family::default();
        registry.register("http_requests", "HTTP requests answered", requests.clone());
        let refused = Family::default();
        registry.register(
            "http_connections_refused",
            "Connections refused, by the bound that was reached",
            refused.clone(),
        );
        Self { registry: Arc::new(Mutex::new(registry)), requests, refused }
    }

    /// Adds a metric.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register(name, help, metric);
    }

    /// Adds metrics that are computed when they are asked for.
    pub fn register_collector(&self, collector: Box<dyn Collector>) {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register_collector(collector);
    }

    /// The text that Prometheus reads (OpenMetrics 1.0).
    pub fn text(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &registry);
        text
    }

    /// Shows counts of zero, so that their rise is seen from the first refusal on.
    pub(super) fn show_refused(&self, listener: &'static str, bounds: [&'static str; 4]) {
        for bound in bounds {
            drop(self.refused.get_or_create(&RefusedLabels { listener, bound }));
        }
    }

    pub(super) fn count_refused(&self, listener: &'static str, bound: &'static str) {
        self.refused.get_or_create(&RefusedLabels { listener, bound }).inc();
    }

    pub(super) fn count_request(&self, method: &Method, path: &str, status: u16) {
        // Methods are open-ended: a stranger's inventions share one label.
        let known =
            [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS];
        let method = if known.contains(method) { method.to_string() } else { "other".to_owned() };
        self.requests.get_or_create(&RequestLabels { method, path: path.to_owned(), status }).inc();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
