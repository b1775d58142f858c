//! Operators.

use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse};
use fleet_types::OperatorName;
use serde_json::json;
use service_kit::database::{begin, connection};
use service_kit::server::{ApiError, Caller, Missing};
use wire::v1::operators::{ChangeOperator, NewOperator, Operator, SetPassword};
use wire::v1::paths;
use wire::{Code, Problem};

use super::doorkeeper::only_in_private;
use crate::audit::Change;
use crate::db;
use crate::db::operators::OperatorRow;
use crate::rules::{self, Admin, MAX_OPERATORS};
use crate::{Access, ApiResult};

fn seen(row: &OperatorRow) -> serde_json::Value {
    json!({ "role": row.role, "service": row.password.is_none(), "disabled": row.disabled.is_some() })
}

fn unknown(name: &OperatorName) -> ApiError {
    ApiError::not_found(Missing::Operator, &name)
}

/// Operators by name, disabled ones among them.
#[utoipa::path(get, path = paths::OPERATORS, tag = "operators", responses(
    (status = 200, description = "Operators", body = Vec<Operator>),
))]
pub async fn list(access: Data<Access>) -> ApiResult<Json<Vec<Operator>>> {
    let most = i64::try_from(MAX_OPERATORS).unwrap_or(i64::MAX);
    let rows = db::operators::all(&connection(&access.pool).await?, most).await?;
    Ok(Json(rows.into_iter().map(Operator::from).collect()))
}

/// Add an operator: a person with a first password, or a service.
#[utoipa::path(post, path = paths::OPERATORS, tag = "operators", request_body = NewOperator, responses(
    (status = 201, description = "The operator", body = Operator),
    (status = 403, description = "A password over a connection that others can read", body = Problem,
        content_type = "application/problem+json"),
    (status = 409, description = "The name is taken, or the limit is reached", body = Problem,
        content_type = "application/problem+json"),
    (status = 422, description = "A field is not allowed", body = Problem, content_type = "application/problem+json"),
))]
pub async fn add(
    access: Data<Access>,
    request: HttpRequest,
    caller: Caller,
    body: Json<NewOperator>,
) -> ApiResult<HttpResponse> {
    let hash = match &body.password {
        Some(password) => {
            only_in_private(&request)?;
            Some(access.passwords.hash("password", password).await?)
        }
        None => None,
    };
    let now = access.clock.now();
    let mut client = connection(&access.pool).await?;
    let transaction = begin(&mut client).await?;
    if db::operators::count(&transaction).await? >= MAX_OPERATORS {
        let detail = format!("The limit of {MAX_OPERATORS} operators is reached.");
        return Err(ApiError::new(Code::TooManyHeld, detail, "Give a service several tokens instead."));
    }
    let name = &body.name;
    if !db::operators::insert(&transaction, name, body.role, hash.as_deref(), &caller.name, now).await? {
        let detail = format!("Operator {name} exists already.");
        return Err(ApiError::new(Code::NameTaken, detail, "Choose another name; names are never reused."));
    }
    let row = db::operators::find(&transaction, name).await?.ok_or_else(|| unknown(name))?;
    let change = Change::of(format!("operator {name}")).because(body.reason.as_deref()).after(seen(&row));
    access.audit.commit(transaction, &caller, change).await?;
    tracing::info!(operator = %name, role = %body.role, by = caller.name, "operator added");
    Ok(HttpResponse::Created().json(Operator::from(row)))
}

/// Change an operator's role, keep it out, or let it in again.
///
/// What it may do changes at once, with its sessions and tokens; the sessions of one who is kept out end.
#[utoipa::path(patch, path = paths::OPERATOR, tag = "operators", params(("name" = OperatorName, Path)),
    request_body = ChangeOperator, responses(
    (status = 200, description = "The operator", body = Operator),
    (status = 404, description = "No such operator", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The own account, or the last admin", body = Problem,
        content_type = "application/problem+json"),
    (status = 422, description = "Nothing to change", body = Problem, content_type = "application/problem+json"),
))]
pub async fn change(
    access: Data<Access>,
    caller: Caller,
    name: Path<OperatorName>,
    body: Json<ChangeOperator>,
) -> ApiResult<Json<Operator>> {
    let now = access.clock.now();
    let mut client = connection(&access.pool).await?;
    let transaction = begin(&mut client).await?;
    let admins = db::operators::lock_admins(&transaction).await?;
    let row = db::operators::lock(&transaction, &name).await?.ok_or_else(|| unknown(&name))?;
    let admins = admins.into_iter().map(|a| Admin { name: a.name.to_string(), person: a.password.is_some() });
    rules::change(&caller.name, name.as_str(), &body, &admins.collect::<Vec<_>>())?;
    let role = body.role.unwrap_or(row.role);
    let disabled = match body.disabled {
        Some(true) => row.disabled.or(Some(now)),
        Some(false) => None,
        None => row.disabled,
    };
    db::operators::set_access(&transaction, &name, role, disabled).await?;
    if disabled.is_some() {
        db::sessions::end_all(&transaction, &name, None).await?;
    }
    let changed = OperatorRow { role, disabled, ..row.clone() };
    let change = Change::of(format!("operator {name}")).because(body.reason.as_deref());
    let change = change.before(seen(&row)).after(seen(&changed));
    access.audit.commit(transaction, &caller, change).await?;
    tracing::info!(operator = %name, %role, disabled = disabled.is_some(), by = caller.name, "operator changed");
    Ok(Json(changed.into()))
}

/// Give another operator a new password. All its sessions end; its tokens stay.
#[utoipa::path(put, path = paths::OPERATOR_PASSWORD, tag = "operators",
    params(("name" = OperatorName, Path)), request_body = SetPassword, responses(
    (status = 204, description = "It is set"),
    (status = 403, description = "Over a connection that others can read", body = Problem,
        content_type = "application/problem+json"),
    (status = 404, description = "No such operator", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The own account, or a service", body = Problem,
        content_type = "application/problem+json"),
    (status = 422, description = "It cannot be a password", body = Problem, content_type = "application/problem+json"),
))]
pub async fn set_password(
    access: Data<Access>,
    request: HttpRequest,
    caller: Caller,
    name: Path<OperatorName>,
    body: Json<SetPassword>,
) -> ApiResult<HttpResponse> {
    only_in_private(&request)?;
    if name.as_str() == caller.name {
        let detail = "This route does not change your own password, so that a stolen session cannot lock you out.";
        return Err(ApiError::new(Code::OwnAccount, detail, "Use PUT /v1/password, which asks for the current one."));
    }
    let hash = access.passwords.hash("new", &body.new).await?;
    let mut client = connection(&access.pool).await?;
    let transaction = begin(&mut client).await?;
    let row = db::operators::lock(&transaction, &name).await?.ok_or_else(|| unknown(&name))?;
    if row.password.is_none() {
        let detail = format!("{name} is a service and has no password; it uses tokens.");
        return Err(ApiError::new(Code::WrongState, detail, "Create a token for it, or add a person."));
    }
    db::operators::set_password(&transaction, &name, &hash).await?;
    let ended = db::sessions::end_all(&transaction, &name, None).await?;
    let change = Change::of(format!("password of {name}")).because(body.reason.as_deref());
    access.audit.commit(transaction, &caller, change.after(json!({ "sessions_ended": ended }))).await?;
    Ok(HttpResponse::NoContent().finish())
}
