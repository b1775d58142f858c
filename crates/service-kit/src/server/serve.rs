//! Several listeners in one process.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{ConnectionType, Extensions, HttpService};
use actix_server::Server;
use actix_service::{IntoServiceFactory, ServiceFactoryExt, map_config};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{AppConfig, ServiceRequest, ServiceResponse, fn_service};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::rt::net::TcpStream;
use actix_web::web::ServiceConfig;
use actix_web::{App, ResponseError as _};
use tokio::io::AsyncWriteExt;
use tracing::Instrument;
use wire::Code;

use super::ApiError;
use super::bounds::{Limits, Throttle};
use super::connections::{Connections, Full, Place};
use super::error::REQUEST_ID;
use super::flow::Answering;
use super::headers::protect;
use super::metrics::Metrics;
use super::slices::{SLICE, sliced};
use super::socket::{Socket, turned_away};
use super::transport::Transport;
use crate::{Shutdown, descriptors};

/// The header that carries a request's id between programs.
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Threads that answer, for each listener.
const WORKERS: usize = 2;

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
    /// What its callers may take.
    pub limits: Limits,
    /// What it speaks below HTTP.
    pub transport: Transport,
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
        source: io::Error,
    },
    /// A listener stopped with an error.
    #[error("a listener stopped")]
    Run(#[source] io::Error),
}

/// Listeners that hold their addresses but do not answer before [`Bound::run`] is polled.
pub struct Bound {
    servers: Vec<Server>,
    addresses: Vec<SocketAddr>,
    /// Tells idle connections to close.
    closing: Shutdown,
}

/// Takes the addresses of all `listeners`, and lets the process have as many open files as the system grants it.
///
/// # Errors
/// An address cannot be taken.
pub fn bind(listeners: Vec<Listener>) -> Result<Bound, ServeError> {
    let (mut servers, mut addresses, closing) = (Vec::new(), Vec::new(), Shutdown::new());
    let most = descriptors::connections_each(listeners.len());
    for mut listener in listeners {
        let (name, address) = (listener.name, listener.address);
        if listener.limits.connections > most {
            tracing::warn!(
                listener = name,
                wanted = listener.limits.connections,
                connections = most,
                "the limit of open files allows fewer connections; raise LimitNOFILE of the service"
            );
            listener.limits.connections = most;
        }
        let (server, bound) =
            listen(listener, &closing).map_err(|source| ServeError::Bind { name, address, source })?;
        tracing::info!(listener = name, address = %bound, "listening");
        addresses.push(bound);
        servers.push(server);
    }
    Ok(Bound { servers, addresses, closing })
}

/// One server. As `actix_web::HttpServer` builds it, but over [`Socket`]s.
fn listen(listener: Listener, closing: &Shutdown) -> io::Result<(Server, SocketAddr)> {
    let Listener { name, address, configure, metrics, limits, transport } = listener;
    let (throttle, closing) = (Throttle::default(), closing.clone());
    let connections = Connections::new(limits.clone());
    metrics.show_refused(name, Full::OF_CONNECTIONS.map(Full::as_str));
    // This library's own bound only stops accepting; it lies beyond ours, which answers.
    let beyond = limits.connections.saturating_add(WORKERS * 64);
    let socket = TcpListener::bind(address)?;
    let bound = socket.local_addr()?;
    let server = Server::build()
        .workers(WORKERS)
        .disable_signals()
        .shutdown_timeout(5)
        .max_concurrent_connections(beyond)
        .listen(name, socket, move || {
            let (configure, metrics, closing) = (configure.clone(), metrics.clone(), closing.clone());
            let (transport, connections, limits) = (transport.clone(), connections.clone(), limits.clone());
            let refusals = metrics.clone();
            let app = App::new()
                .app_data(limits.clone())
                .app_data(throttle.clone())
                .wrap(from_fn(move |request, next| observe(request, next, metrics.clone())))
                .configure(move |config| configure(config));
            let http = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let closing = closing.clone();
                    async move { closing.stopped().await }
                })
                .keep_alive(Duration::from_secs(75))
                .client_request_timeout(limits.request)
                .h1_write_buffer_size(SLICE)
                .client_disconnect_timeout(Duration::from_secs(1))
                .on_connect_ext(|socket: &Socket, data: &mut Extensions| {
                    if let Some(presented) = socket.connection().peer_certificates() {
                        data.insert(presented);
                    }
                    data.insert(socket.place());
                    data.insert(socket.flow());
                })
                .h1(map_config(app.into_factory().map_err(actix_web::Error::from), |()| AppConfig::default()));
            fn_service(move |io: TcpStream| {
                let (transport, limits) = (transport.clone(), limits.clone());
                let peer = io.peer_addr().ok();
                // An address that is gone already is a stranger's like any other.
                let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
                let taken = connections.take(address).inspect_err(|full| {
                    refusals.count_refused(name, full.as_str());
                    if connections.is_news() {
                        let bound = full.as_str();
                        tracing::warn!(listener = name, bound, "too many connections: some are refused");
                    }
                });
                let (refusals, connections) = (refusals.clone(), connections.clone());
                async move {
                    let Ok(place) = taken else { return Err(turn_away(io, &transport).await) };
                    match transport.accept(io, limits.request).await {
                        Ok(connection) => {
                            if let Some(presented) = connection.peer_certificates() {
                                greet(&place, transport.holder(&presented));
                            }
                            Ok((Socket::new(connection, &limits, place), peer))
                        }
                        Err(error) => {
                            // A stranger can cause as many of these as it likes.
                            if transport.is_distrusted(&error) {
                                refusals.count_refused(name, "distrusted");
                                if connections.is_distrust_news() {
                                    tracing::warn!(
                                        listener = name, %address, "a machine does not accept this server's certificate: check the \
                                        machine's clock, its join token, and that its `branch.url` or `head_office.url` is of this fleet"
                                    );
                                }
                            }
                            tracing::debug!(listener = name, ?peer, %error, "a connection that did not come about");
                            Err(DispatchError::Io(error))
                        }
                    }
                }
            })
            .and_then(http)
        })?
        .run();
    Ok((server, bound))
}

/// A certificate of the fleet makes its holder no stranger: machines find room while strangers take all of theirs. The first
/// request tells who it is.
fn greet(place: &Place, holder: Option<String>) {
    if let Some(holder) = holder {
        // Too many of the same holder stay strangers.
        let _ = place.belongs_to(&format!("certificates of {holder}"));
    }
}

/// Tells who gets no place why, where that takes no handshake.
async fn turn_away(mut io: TcpStream, transport: &Transport) -> DispatchError {
    if matches!(transport, Transport::Plain) {
        // A new connection takes that much at once, or is not worth waiting for.
        let _ = tokio::time::timeout(Duration::from_secs(1), io.write_all(&turned_away())).await;
    }
    DispatchError::Io(io::ErrorKind::QuotaExceeded.into())
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
        let closing = self.closing;
        let stopper = async move {
            shutdown.stopped().await;
            closing.stop();
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
    mut request: ServiceRequest,
    next: Next<B>,
    metrics: Metrics,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let answering = Answering::begin(&mut request);
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
    let too_late = Answering::is_too_late(answering.as_ref());
    let answer = async {
        if too_late {
            let detail = "A request followed a body in chunks on the same connection.";
            let error =
                ApiError::new(Code::MalformedHttp, detail, "Connect again after a request whose body is in chunks.");
            return Ok(request.into_response(error.error_response()));
        }
        next.call(request).await.map(ServiceResponse::map_into_boxed_body)
    };
    let answered = REQUEST_ID.scope(id, answer).instrument(span.clone()).await;
    let mut response = answered?;
    // The pattern, not the path: a stranger must not be able to invent label values.
    let pattern = response.request().match_pattern().unwrap_or_else(|| "none".to_owned());
    let status = response.status().as_u16();
    metrics.count_request(&method, &pattern, status);
    let request = response.request().clone();
    protect(&request, response.headers_mut());
    if Answering::is_last(answering.as_ref()) {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    span.in_scope(|| tracing::debug!(status, "answered"));
    if let Some(header) = header {
        response.headers_mut().insert(REQUEST_ID_HEADER, header);
    }
    Ok(response.map_body(|_, body| Answering::until_written(answering, sliced(body))))
}
