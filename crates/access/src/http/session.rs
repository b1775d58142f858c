//! Logging in and out, one's own sessions and password.

use std::net::IpAddr;

use actix_web::http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE, USER_AGENT};
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use service_kit::database::{begin, connection};
use service_kit::server::{
    ApiError, Caller, Missing, Role, Via, csrf_token, ended_cookie, from_other_site, session_cookie,
};
use service_kit::token;
use uuid::Uuid;
use wire::v1::operators::{ChangePassword, LogIn, LoggedIn, OperatorRole, Session, WhoAmI};
use wire::v1::paths;
use wire::{Code, Problem};

use super::doorkeeper::{only_in_private, operator_of};
use crate::audit::Change;
use crate::db;
use crate::db::sessions::NewSession;
use crate::login::{authentic, begin_session};
use crate::{Access, ApiResult};

/// Longest name of a browser that is kept, in characters.
const MAX_PROGRAM: usize = 120;

fn address(request: &HttpRequest) -> ApiResult<IpAddr> {
    let peer = service_kit::server::address_of(request);
    peer.ok_or_else(|| ApiError::internal("a connection without a peer"))
}

/// Log in.
///
/// The answer sets the session's cookie; a request that changes something repeats `csrf_token` in the header
/// `X-Filial-Csrf`. A session that the browser had before ends.
#[utoipa::path(post, path = paths::SESSION, tag = "session", request_body = LogIn, responses(
    (status = 200, description = "Logged in", body = LoggedIn),
    (status = 401, description = "Name and password do not belong together, or the operator is disabled", body = Problem,
        content_type = "application/problem+json"),
    (status = 403, description = "Over a connection that others can read, or caused by another site", body = Problem,
        content_type = "application/problem+json"),
    (status = 429, description = "Too many wrong passwords", body = Problem, content_type = "application/problem+json"),
))]
pub async fn log_in(access: Data<Access>, request: HttpRequest, body: Json<LogIn>) -> ApiResult<HttpResponse> {
    only_in_private(&request)?;
    if from_other_site(&request) {
        let detail = "Another site caused this log-in, as the browser reports.";
        return Err(ApiError::new(Code::CrossSite, detail, "Log in on the server's own page."));
    }
    let address = address(&request)?;
    let operator = authentic(&access.pool, &access.guesses, &access.passwords, &body, address).await?;
    let secret = token::generate("session");
    let now = access.clock.now();
    let expires = now + access.settings.session_life;
    let id = Uuid::new_v4();
    let program: String = request.headers().get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default().into();
    let program: String = program.chars().take(MAX_PROGRAM).collect();
    let mut client = connection(&access.pool).await?;
    let transaction = begin(&mut client).await?;
    let (address_text, hash) = (address.to_string(), token::hash(secret.expose()));
    let (name, from) = (&operator.name, &address_text);
    let new = NewSession { id, operator: name, secret: &hash, address: from, program: &program, now, expires };
    begin_session(&transaction, &operator, &new, cookies(&request, access.server.cookie), access.settings.session_idle)
        .await?;
    let role: Role = operator.role.into();
    let caller = Caller::operator(operator.name.as_str(), role).by(Via::Password);
    let caller = caller.asking("POST /v1/session", Some(address));
    let change = Change::of(format!("session {id}")).after(json!({ "expires": expires }));
    access.audit.commit(transaction, &caller, change).await?;
    tracing::info!(operator = %operator.name, %address, "logged in");
    Ok(HttpResponse::Ok()
        .insert_header((
            SET_COOKIE,
            session_cookie(access.server.cookie, secret.expose(), access.settings.session_life.num_seconds()),
        ))
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(LoggedIn { name: operator.name, role: operator.role, csrf_token: csrf_token(secret.expose()), expires }))
}

/// Every session cookie that the request carries, also several.
fn cookies<'a>(request: &'a HttpRequest, name: &'static str) -> impl Iterator<Item = &'a str> {
    let headers = request.headers().get_all(COOKIE).filter_map(|value| value.to_str().ok());
    let pairs = headers.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(move |(key, _)| *key == name).map(|(_, value)| value).take(4)
}

/// Who asks.
#[utoipa::path(get, path = paths::SESSION, tag = "session", responses(
    (status = 200, description = "The caller", body = WhoAmI),
))]
pub async fn who(access: Data<Access>, request: HttpRequest, caller: Caller) -> ApiResult<HttpResponse> {
    let session = matches!(caller.via, Via::Session(_));
    let csrf_token = cookies(&request, access.server.cookie).next().filter(|_| session).map(csrf_token);
    let answer = WhoAmI {
        name: operator_of(&caller)?,
        role: caller.role.operator().unwrap_or(OperatorRole::Viewer),
        scope: caller.scope.map(|groups| groups.into_iter().collect()),
        csrf_token,
    };
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(answer))
}

/// Log out: ends the session, or revokes the token, that this request came with.
#[utoipa::path(delete, path = paths::SESSION, tag = "session", responses(
    (status = 204, description = "The session or token is ended"),
))]
pub async fn log_out(access: Data<Access>, caller: Caller) -> ApiResult<HttpResponse> {
    let operator = operator_of(&caller)?;
    let mut client = connection(&access.pool).await?;
    let transaction = begin(&mut client).await?;
    match caller.via {
        Via::Session(id) => {
            db::sessions::end(&transaction, id, &operator).await?;
        }
        Via::Token(id) => {
            db::tokens::revoke(&transaction, id, access.clock.now()).await?;
        }
        via => return Err(ApiError::internal(format!("an operator came by {via}"))),
    }
    let change = Change::of(caller.via.to_string()).after(json!({ "ended": true }));
    access.audit.commit(transaction, &caller, change).await?;
    Ok(HttpResponse::NoContent().insert_header((SET_COOKIE, ended_cookie(access.server.cookie))).finish())
}

/// One's own sessions, newest first.
#[utoipa::path(get, path = paths::SESSIONS, tag = "session", responses(
    (status = 200, description = "Sessions that have not ended", body = Vec<Session>),
))]
pub async fn list(access: Data<Access>, caller: Caller) -> ApiResult<Json<Vec<Session>>> {
    let client = connection(&access.pool).await?;
    let now = access.clock.now();
    let rows = db::sessions::of(&client, &operator_of(&caller)?, now, now - access.settings.session_idle).await?;
    let sessions = rows.into_iter().map(|row| Session {
        id: row.id,
        current: caller.via == Via::Session(row.id),
        address: row.address,
        program: row.program,
        begun: row.begun,
        last_used: row.last_used,
        expires: row.expires,
    });
    Ok(Json(sessions.collect()))
}

/// End one of one's own sessions.
#[utoipa::path(delete, path = paths::SESSION_OF, tag = "session", params(("id" = Uuid, Path)), responses(
    (status = 204, description = "It has ended"),
    (status = 404, description = "No such session of the caller", body = Problem,
        content_type = "application/problem+json"),
))]
pub async fn end(access: Data<Access>, caller: Caller, id: Path<Uuid>) -> ApiResult<HttpResponse> {
    let mut client = connection(&access.pool).await?;
    let transaction = begin(&mut client).await?;
    if !db::sessions::end(&transaction, *id, &operator_of(&caller)?).await? {
        return Err(ApiError::not_found(Missing::Other("session"), &format_args!("{id} of yours")));
    }
    let change = Change::of(format!("session {id}")).after(json!({ "ended": true }));
    access.audit.commit(transaction, &caller, change).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Change one's own password. All other sessions of the operator end; its tokens stay.
#[utoipa::path(put, path = paths::PASSWORD, tag = "session", request_body = ChangePassword, responses(
    (status = 204, description = "It is changed"),
    (status = 401, description = "The current password is another", body = Problem,
        content_type = "application/problem+json"),
    (status = 403, description = "Over a connection that others can read", body = Problem,
        content_type = "application/problem+json"),
    (status = 422, description = "The new one cannot be a password", body = Problem,
        content_type = "application/problem+json"),
))]
pub async fn change_password(
    access: Data<Access>,
    request: HttpRequest,
    caller: Caller,
    body: Json<ChangePassword>,
) -> ApiResult<HttpResponse> {
    only_in_private(&request)?;
    let given = LogIn { name: caller.name.clone(), password: body.current.clone() };
    let operator = authentic(&access.pool, &access.guesses, &access.passwords, &given, address(&request)?).await?;
    let hash = access.passwords.hash("new", &body.new).await?;
    let kept = match caller.via {
        Via::Session(id) => Some(id),
        _ => None,
    };
    let mut client = connection(&access.pool).await?;
    let transaction = begin(&mut client).await?;
    db::operators::set_password(&transaction, &operator.name, &hash).await?;
    let ended = db::sessions::end_all(&transaction, &operator.name, kept).await?;
    let change = Change::of(format!("password of {}", operator.name)).after(json!({ "sessions_ended": ended }));
    access.audit.commit(transaction, &caller, change).await?;
    Ok(HttpResponse::NoContent().finish())
}
