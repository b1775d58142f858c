//! The route table as data: every route with its role beside it. What is not in the table does not exist.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{ALLOW, AUTHORIZATION, CONTENT_LENGTH, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, ResponseError};
use utoipa::openapi::OpenApi as Document;
use wire::Code;

use super::bounds::{Limits, MAX_OPEN_BODY, Throttle, bound_body, bound_length};
use super::browser::{check_own_site, cookie};
use super::connections::Place;
use super::forwarded::{address_of, is_local};
use super::joining::join;
use super::unreadable::{MAX_JSON_BODY, check_encoding, json_error, too_large, unreadable};
use super::{ApiError, Authenticator, Caller, PeerCertificates, Role};
use crate::token::MAX_TOKEN_LEN;
use crate::turns::Turn;

/// One entry of a listener's route table. [`routes!`](crate::routes) makes it of a documented handler.
#[derive(Clone)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, in actix's syntax: `/v1/releases/{id}`.
    pub path: Cow<'static, str>,
    /// Who may use it.
    pub role: Role,
    /// Makes the handler: `|| web::get().to(list)` without a method guard of its own, so `|| web::to(list)`.
    pub handler: fn() -> actix_web::Route,
    /// Whether the body may take as long as it likes: the handler itself gives up a silent one.
    pub long_body: bool,
    /// The route's part of the OpenAPI document; none for a route that the document leaves out.
    pub document: Option<fn() -> Document>,
}

impl Route {
    /// Makes a GET route that the document leaves out.
    pub const fn get(path: &'static str, role: Role, handler: fn() -> actix_web::Route) -> Self {
        Self::new(Method::GET, path, role, handler)
    }

    /// Makes a POST route that the document leaves out.
    pub const fn post(path: &'static str, role: Role, handler: fn() -> actix_web::Route) -> Self {
        Self::new(Method::POST, path, role, handler)
    }

    /// Makes a route of any method that the document leaves out.
    pub const fn new(method: Method, path: &'static str, role: Role, handler: fn() -> actix_web::Route) -> Self {
        Self { method, path: Cow::Borrowed(path), role, handler, long_body: false, document: None }
    }

    /// Makes a route of a handler's `#[utoipa::path]`, which alone states method and path. Used by [`routes!`](crate::routes).
    ///
    /// # Panics
    /// The document has no operation or more than one: a defect of the table that its first use shows.
    pub fn documented(role: Role, handler: fn() -> actix_web::Route, document: fn() -> Document) -> Self {
        let (path, method) = sole_operation(document());
        Self { method, path: Cow::Owned(path), role, handler, long_body: false, document: Some(document) }
    }

    /// Returns the group that it belongs to, which a token's scope names: `releases` for `/v1/releases/{id}`.
    pub fn group(&self) -> &str {
        group(&self.path)
    }

    /// Lets the body take long; the handler must give up a silent one.
    #[must_use]
    pub fn with_long_body(self) -> Self {
        Self { long_body: true, ..self }
    }
}

/// The only operation of a document.
fn sole_operation(document: Document) -> (String, Method) {
    let mut found = document.paths.paths.into_iter().flat_map(|(path, item)| {
        let methods = [
            (Method::GET, item.get),
            (Method::PUT, item.put),
            (Method::POST, item.post),
            (Method::DELETE, item.delete),
            (Method::OPTIONS, item.options),
            (Method::HEAD, item.head),
            (Method::PATCH, item.patch),
        ];
        methods.into_iter().filter_map(move |(method, used)| used.map(|_| (path.clone(), method)))
    });
    match (found.next(), found.next()) {
        (Some(sole), None) => sole,
        (first, second) => panic!("one handler has not exactly one operation: {first:?}, {second:?}"),
    }
}

/// Adds the documented routes of a table to `base`, which holds the API's title, security and further schemas.
pub fn document(base: Document, routes: &[Route]) -> Document {
    routes.iter().filter_map(|route| route.document).fold(base, |base, part| base.merge_from(part()))
}

/// Lists routes: each entry names role and handler once; the handler's `#[utoipa::path]` states method and path.
///
/// The list yields both the listener's routes ([`configure`]) and its OpenAPI document ([`document`]).
///
/// ```
/// use service_kit::server::{Role, document};
///
/// #[utoipa::path(get, path = wire::v1::paths::STATUS, responses((status = 200, description = "The status", body = String)))]
/// async fn status() -> &'static str {
///     "ok"
/// }
///
/// #[utoipa::path(patch, path = wire::v1::paths::UPLOAD, params(("id" = String, Path)), responses((status = 204, description = "Stored")))]
/// async fn append(_body: actix_web::web::Payload) -> &'static str {
///     ""
/// }
///
/// let table = service_kit::routes![
///     Role::Viewer => status,
///     // The body may take long: the handler itself gives up a silent one.
///     Role::ReleaseManager => append, long_body,
/// ];
/// assert_eq!((table[0].method.as_str(), &*table[0].path), ("GET", "/v1/status"));
/// assert!(table[1].long_body);
/// assert_eq!(document(Default::default(), &table).paths.paths.len(), 2);
/// ```
#[macro_export]
macro_rules! routes {
    (@done [$($routes:expr,)*]) => { ::std::vec![$($routes),*] };
    (@done [$($routes:expr,)*] $role:expr => $handler:path, long_body $(, $($rest:tt)*)?) => {
        $crate::routes!(@done [$($routes,)* $crate::routes!(@one $role, $handler).with_long_body(),] $($($rest)*)?)
    };
    (@done [$($routes:expr,)*] $role:expr => $handler:path $(, $($rest:tt)*)?) => {
        $crate::routes!(@done [$($routes,)* $crate::routes!(@one $role, $handler),] $($($rest)*)?)
    };
    (@one $role:expr, $handler:path) => {
        $crate::server::Route::documented($role, || ::actix_web::web::to($handler), || {
            #[derive(::utoipa::OpenApi)]
            #[openapi(paths($handler))]
            struct Part;
            <Part as ::utoipa::OpenApi>::openapi()
        })
    };
    ($($entries:tt)*) => { $crate::routes!(@done [] $($entries)*) };
}

/// Returns the segment behind the version in a path.
fn group(path: &str) -> &str {
    path.split('/').nth(2).unwrap_or_default()
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({})", self.method, self.path, self.role.as_str())
    }
}

/// Adds `routes` and nothing else to an application: any other path is a 404, any other method of a known path a
/// 405, and a route's handler runs only for callers that its role admits. Bodies that cannot be read become
/// problems too.
pub fn configure(config: &mut ServiceConfig, routes: &[Route], authenticator: Arc<dyn Authenticator>) {
    let mut by_path: BTreeMap<&str, Vec<Route>> = BTreeMap::new();
    // Resources are tried in the order in which they are registered: keep the table's.
    let mut order = Vec::new();
    for route in routes {
        let at_path = by_path.entry(&*route.path).or_insert_with(|| {
            order.push(&*route.path);
            Vec::new()
        });
        debug_assert!(at_path.iter().all(|r| r.method != route.method), "{route:?} is listed twice");
        at_path.push(route.clone());
    }
    for path in order {
        let Some(at_path) = by_path.remove(path) else { continue };
        config.service(resource(path, at_path, authenticator.clone()));
    }
    config
        .app_data(web::JsonConfig::default().limit(MAX_JSON_BODY).error_handler(|e, _| json_error(&e).into()))
        .app_data(web::QueryConfig::default().error_handler(|e, _| unreadable("query", &e).into()))
        .app_data(web::PathConfig::default().error_handler(|e, _| unreadable("path", &e).into()))
        .default_service(web::to(nothing_here));
}

fn resource(
    path: &str,
    routes: Vec<Route>,
    authenticator: Arc<dyn Authenticator>,
) -> actix_web::Resource<
    impl actix_web::dev::ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = actix_web::Error,
        InitError = (),
    > + use<>,
> {
    let mut resource = web::resource(path);
    let path: Arc<str> = path.into();
    let long: Arc<[Method]> = routes.iter().filter(|r| r.long_body).map(|r| r.method.clone()).collect();
    let allow = routes.iter().map(|r| r.method.as_str()).collect::<Vec<_>>().join(", ");
    let roles: Arc<[(Method, Role)]> = routes.iter().map(|r| (r.method.clone(), r.role)).collect();
    for route in routes {
        resource = resource.route((route.handler)().method(route.method));
    }
    resource
        .default_service(web::to(move |request: HttpRequest| {
            let allow = allow.clone();
            async move { wrong_method(&request, &allow) }
        }))
        .wrap(from_fn(move |request: ServiceRequest, next: Next<BoxBody>| {
            let (roles, authenticator, path) = (roles.clone(), authenticator.clone(), path.clone());
            let long_body = long.contains(request.method());
            async move { guard(request, next, &path, &roles, &*authenticator, long_body).await }
        }))
}

async fn guard(
    mut request: ServiceRequest,
    next: Next<BoxBody>,
    path: &str,
    roles: &[(Method, Role)],
    authenticator: &dyn Authenticator,
    long_body: bool,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let needed = roles
        .iter()
        .find(|(method, _)| method == request.method())
        .map(|(_, role)| role.asked(is_local(request.request())));
    // Held until the handler has answered.
    let mut turn = None;
    // A method that is not in the table goes on to the 405, which tells no more than the table's paths.
    if let Some(needed) = needed.filter(|role| !role.is_open()) {
        match admit(request.request(), needed, group(path), authenticator).await {
            Ok(caller) => {
                let caller = caller.asking(format!("{} {path}", request.method()), address_of(request.request()));
                match holds(request.request(), &caller, long_body).await {
                    Ok(held) => turn = held,
                    Err(error) => return Ok(request.into_response(error.error_response())),
                }
                tracing::Span::current().record("caller", caller.name.as_str());
                request.extensions_mut().insert(caller);
            }
            // Answered here, not returned as an error: within the request's scope, so that it carries the id.
            Err(error) => return Ok(request.into_response(error.error_response())),
        }
    }
    if let Err(error) = check_encoding(request.request()) {
        return Ok(request.into_response(error.error_response()));
    }
    if !long_body {
        let limit = request.app_data::<Limits>().map_or_else(|| Limits::default().request, |limits| limits.request);
        bound_body(&mut request, limit);
    }
    if needed.is_none_or(Role::is_open) {
        if announced(&request).is_some_and(|length| length > MAX_OPEN_BODY as u64) {
            return Ok(request.into_response(too_large(MAX_OPEN_BODY).error_response()));
        }
        bound_length(&mut request, MAX_OPEN_BODY);
    }
    let response = match request.app_data::<Throttle>().cloned().zip(address_of(request.request())) {
        Some((throttle, address)) if needed == Some(Role::JoinToken) => join(request, next, &throttle, address).await,
        _ => next.call(request).await,
    };
    drop(turn);
    response
}

/// How long the body is, as the request says.
fn announced(request: &ServiceRequest) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The connection is the caller's from now on, and the request has its turn among the caller's. A long body has none: it would
/// keep the others waiting.
async fn holds(request: &HttpRequest, caller: &Caller, long_body: bool) -> Result<Option<Turn<String>>, ApiError> {
    let Some(place) = request.conn_data::<Arc<Place>>() else { return Ok(None) };
    let too_many = |what: &str, remedy: &str| {
        ApiError::new(Code::TooMany, format!("{} has too many {what}.", caller.name), remedy)
            .with_header(RETRY_AFTER, HeaderValue::from_static("1"))
    };
    // An operator is one caller, whichever of its tokens is used.
    let key = format!("{} {}", if caller.role.is_operator() { "operator" } else { caller.role.as_str() }, caller.name);
    let remedy = "Close connections that are not used, and try again in a moment.";
    place.belongs_to(&key).map_err(|_| too_many("connections", remedy))?;
    if long_body {
        return Ok(None);
    }
    let remedy = "Wait for answers before sending more requests.";
    place.turn(key).await.map(Some).map_err(|_| too_many("requests at once", remedy))
}

async fn admit(
    request: &HttpRequest,
    needed: Role,
    group: &str,
    authenticator: &dyn Authenticator,
) -> Result<Caller, ApiError> {
    let caller = identify(request, authenticator).await?;
    if !caller.role.reaches(needed) {
        return Err(ApiError::forbidden(caller.role, needed));
    }
    if !caller.may_use(group) {
        let detail = format!("This token is not for {group}.");
        return Err(ApiError::new(Code::OutOfScope, detail, "Use a token whose scope has it."));
    }
    Ok(caller)
}

fn stranger(detail: &str) -> ApiError {
    ApiError::new(Code::Unauthenticated, detail, "Send the header Authorization: Bearer TOKEN with a valid token.")
        .with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

/// Who asks: by the certificate that the connection was made with, without one by the bearer token, and only without both
/// by the cookie.
async fn identify(request: &HttpRequest, authenticator: &dyn Authenticator) -> Result<Caller, ApiError> {
    if let Some(presented) = request.conn_data::<PeerCertificates>().filter(|p| !p.0.is_empty()) {
        // One that sends hundreds at once takes none of the database's connections from others.
        let _turn = match request.conn_data::<Arc<Place>>() {
            Some(place) => place.lookup().await,
            None => None,
        };
        let caller = authenticator.certificate(presented).await?;
        return caller.ok_or_else(|| {
            let detail = "This certificate is not registered here.";
            ApiError::new(Code::Unauthenticated, detail, "Enrol with a new join token.")
        });
    }
    if authenticator.wants_certificate() {
        let detail = "This route is for machines that present their certificate, and none was presented.";
        return Err(ApiError::new(Code::Unauthenticated, detail, "Enrol first; then connect with the certificate."));
    }
    let mut given = request.headers().get_all(AUTHORIZATION);
    let Some(header) = given.next() else {
        return by_cookie(request, authenticator).await;
    };
    if given.next().is_some() {
        return Err(stranger("The request carries more than one token."));
    }
    let bearer = header.to_str().ok().and_then(|h| h.strip_prefix("Bearer ")).map(str::trim);
    let Some(bearer) = bearer.filter(|b| !b.is_empty() && b.len() <= MAX_TOKEN_LEN) else {
        return Err(stranger("The Authorization header is not a bearer token."));
    };
    authenticator.authenticate(bearer).await?.ok_or_else(|| stranger("The token is not valid."))
}

async fn by_cookie(request: &HttpRequest, authenticator: &dyn Authenticator) -> Result<Caller, ApiError> {
    let cookie = authenticator.cookie().and_then(|name| cookie(request, name));
    let cookie = cookie.ok_or_else(|| stranger("The request carries no token."))?;
    // Whose it is comes first: a session that ended is told so, wherever the request comes from.
    let caller = authenticator.session(cookie).await?.ok_or_else(|| stranger("The session has ended."))?;
    if !request.method().is_safe() {
        check_own_site(request, cookie)?;
    }
    Ok(caller)
}

fn wrong_method(request: &HttpRequest, allow: &str) -> Result<HttpResponse, ApiError> {
    let detail = format!("{} is not possible here.", request.method());
    let error = ApiError::new(Code::MethodNotAllowed, detail, format!("Use one of: {allow}."));
    Err(match HeaderValue::from_str(allow) {
        Ok(value) => error.with_header(ALLOW, value),
        Err(_) => error,
    })
}

async fn nothing_here(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let path: String = request.path().chars().take(200).collect();
    Err(ApiError::new(
        Code::RouteMissing,
        format!("There is nothing at {path}."),
        "See /openapi.json for what there is.",
    ))
}
