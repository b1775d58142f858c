//! The HTTP server: a route table as data, callers with roles, problem+json, health, metrics, events.

mod auth;
mod bounds;
mod browser;
mod caller;
mod connections;
mod error;
mod forwarded;
mod headers;
mod joining;
mod metrics;
mod role;
mod route;
mod serve;
mod service_routes;
mod slices;
mod socket;
mod sse;
mod stall;
mod transport;
mod tries;
mod unreadable;

pub use auth::{Authenticator, Nobody, OperatorTokens};
pub use bounds::{JOIN_TRIES, Limits, MAX_OPEN_BODY, Throttle, network};
pub use browser::{csrf_token, ended_cookie, from_other_site, is_private, session_cookie};
pub use caller::{Caller, Via};
pub use error::{ApiError, Missing};
pub use forwarded::address_of;
pub use metrics::Metrics;
pub use role::Role;
pub use route::{Route, configure, document};
pub use serve::{Bound, Configure, Listener, REQUEST_ID_HEADER, ServeError, bind, serve};
pub use service_routes::{ApiDocument, Check, Health, Readiness, document_routes, health_routes};
pub use sse::{KEEP_ALIVE, ServerEvent, sse};
pub use transport::{Holder, PeerCertificates, TlsSource, Transport};
pub use tries::{MAX_KEYS, Tries};
pub use unreadable::MAX_JSON_BODY;
