//! Several listeners in one process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpServer};
use tracing::Instrument;

use super::error::REQUEST_ID;
use super::metrics::Metrics;
use crate::Shutdown;

/// The header that carries a request's id between programs.
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// What an application of a listener consists of.
pub type Configure = Arc<dyn Fn(&mut ServiceConfig) + Send + Sync>;

/// One listener: an address and its application.
#[derive(Clone)]
pub struct Listener {
    /// For the log, such as `operators`.
    pub name: &'static str,
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// The application.
    pub configure: Configure,
    /// Where its requests are counted.
    pub metrics: Metrics,
}

/// Why the listeners could not start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address} ({name}): is another program there, and is the address this machine's?")]
    Bind {
        /// The listener.
        name: &'static str,
        /// Its address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A listener stopped with an error.
    #[error("a listener stopped")]
    Run(#[source] std::io::Error),
}

/// Listeners that hold their addresses but do not answer before [`Bound::run`] is polled.
pub struct Bound {
    servers: Vec<Server>,
    addresses: Vec<SocketAddr>,
}

/// Takes the addresses of all `listeners`.
///
/// # Errors
/// An address cannot be taken.
pub fn bind(listeners: Vec<Listener>) -> Result<Bound, ServeError> {
    let (mut servers, mut addresses) = (Vec::new(), Vec::new());
    for Listener { name, address, configure, metrics } in listeners {
        let server = HttpServer::new(move || {
            let (configure, metrics) = (configure.clone(), metrics.clone());
            App::new()
                .wrap(from_fn(move |request, next| observe(request, next, metrics.clone())))
                .configure(move |config| configure(config))
        })
        .workers(2)
        .disable_signals()
        .shutdown_timeout(5)
        .client_request_timeout(Duration::from_secs(30))
        .keep_alive(Duration::from_secs(75))
        .max_connections(10_000)
        .bind(address)
        .map_err(|source| ServeError::Bind { name, address, source })?;
        for bound in server.addrs() {
            tracing::info!(listener = name, address = %bound, "listening");
            addresses.push(bound);
        }
        servers.push(server.run());
    }
    Ok(Bound { servers, addresses })
}

impl Bound {
    /// The addresses, in the order of the listeners.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Answers until `shutdown`, then lets running requests end for at most five seconds.
    ///
    /// # Errors
    /// A listener broke.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), ServeError> {
        let handles: Vec<_> = self.servers.iter().map(Server::handle).collect();
        let stopper = async move {
            shutdown.stopped().await;
            futures_util::future::join_all(handles.iter().map(|h| h.stop(true))).await;
        };
        let servers = futures_util::future::try_join_all(self.servers);
        tokio::pin!(servers);
        let result = tokio::select! {
            result = &mut servers => result,
            () = stopper => servers.await,
        };
        result.map(drop).map_err(ServeError::Run)
    }
}

/// [`bind`] and [`Bound::run`] in one.
///
/// # Errors
/// As both.
pub async fn serve(listeners: Vec<Listener>, shutdown: Shutdown) -> Result<(), ServeError> {
    bind(listeners)?.run(shutdown).await
}

/// Gives every request an id and a span, and counts it.
async fn observe<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
    metrics: Metrics,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let id = request
        .headers()
        .get(&REQUEST_ID_HEADER)
        .and_then(|v| v.to_str().ok())
        .filter(|v| (1..=64).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
        .map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
    let method = request.method().clone();
    let span = tracing::info_span!(
        "request", id = %id, method = %method, path = %request.path(), caller = tracing::field::Empty
    );
    let header = HeaderValue::from_str(&id).ok();
    let answered = REQUEST_ID.scope(id, next.call(request)).instrument(span.clone()).await;
    let mut response = answered?;
    // The pattern, not the path: a stranger must not be able to invent label values.
    let pattern = response.request().match_pattern().unwrap_or_else(|| "none".to_owned());
    let status = response.status().as_u16();
    metrics.count_request(&method, &pattern, status);
    span.in_scope(|| tracing::debug!(status, "answered"));
    if let Some(header) = header {
        response.headers_mut().insert(REQUEST_ID_HEADER, header);
    }
    Ok(response)
}
