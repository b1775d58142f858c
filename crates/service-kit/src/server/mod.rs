//! The HTTP server: a route table as data, callers with roles, problem+json, health, metrics, events.

mod auth;
mod bounds;
mod error;
mod metrics;
mod role;
mod route;
mod serve;
mod service_routes;
mod socket;
mod sse;

pub use auth::{Authenticator, Nobody, OperatorTokens};
pub use bounds::{JOIN_TRIES, Limits, Throttle};
pub use error::ApiError;
pub use metrics::Metrics;
pub use role::{Caller, Role};
pub use route::{MAX_JSON_BODY, Route, configure};
pub use serve::{Bound, Configure, Listener, REQUEST_ID_HEADER, ServeError, bind, serve};
pub use service_routes::{ApiDocument, Check, Health, Readiness, ServiceApi, document_routes, health_routes};
pub use sse::{KEEP_ALIVE, ServerEvent, sse};
