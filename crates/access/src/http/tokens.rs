//! API tokens.

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Data, Json, Path, Query};
use fleet_types::OperatorName;
use serde::Deserialize;
use serde_json::json;
use service_kit::database::{GenericClient, begin, connection};
use service_kit::server::{ApiError, Caller, Missing, Role, Via};
use service_kit::token;
use uuid::Uuid;
use wire::v1::operators::{NewToken, OperatorRole, Token, TokenMade};
use wire::v1::paths;
use wire::{Code, Problem};

use super::doorkeeper::operator_of;
use crate::audit::Change;
use crate::db;
use crate::rules::{self, Actor, DEAD_TOKENS, MAX_TOKENS};
use crate::{Access, ApiResult};

/// Tokens of an operator in a list: all that there can be.
const ALL: i64 = 200;

/// Whose tokens.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Whose {
    /// Of this operator, for admins; one's own without.
    pub operator: Option<OperatorName>,
}

/// Who acts, and what it has to give.
async fn actor<C: GenericClient>(c: &C, caller: &Caller) -> ApiResult<Actor> {
    let until = match caller.via {
        Via::Token(id) => db::tokens::lock(c, id).await?.map(|token| token.expires),
        _ => None,
    };
    let role = caller.role.operator().ok_or_else(|| ApiError::forbidden(caller.role, Role::Viewer))?;
    Ok(Actor { name: caller.name.clone(), role, scope: caller.scope.clone(), until })
}

/// Make a token: for oneself, or as an admin for a service.
///
/// It is shown this once, and has at most what the caller has.
#[utoipa::path(post, path = paths::TOKENS, tag = "tokens", request_body = NewToken, responses(
    (status = 201, description = "The token", body = TokenMade),
    (status = 403, description = "More than the caller has, or for another person", body = Problem,
        content_type = "application/problem+json"),
    (status = 404, description = "No such operator", body = Problem, content_type = "application/problem+json"),
    (status = 429, description = "Too many within a short time", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The limit of tokens is reached", body = Problem,
        content_type = "application/problem+json"),
    (status = 422, description = "A field is not allowed", body = Problem, content_type = "application/problem+json"),
))]
pub async fn make(access: Data<Access>, caller: Caller, body: Json<NewToken>) -> ApiResult<HttpResponse> {
    let now = access.clock.now();
    let own = operator_of(&caller)?;
    access.token_pace.begin(&own)?;
    let operator = body.operator.clone().unwrap_or_else(|| own.clone());
    let mut client = connection(&access.pool).await?;
    let transaction = begin(&mut client).await?;
    let actor = actor(&transaction, &caller).await?;
    if operator != own && actor.role < OperatorRole::Admin {
        return Err(ApiError::forbidden(caller.role, Role::Admin));
    }
    let owner = db::operators::lock(&transaction, &operator).await?;
    let owner = owner.ok_or_else(|| ApiError::not_found(Missing::Operator, &operator))?;
    if operator != own && owner.password.is_some() {
        let detail = format!("{operator} is a person; only {operator} creates tokens for this account.");
        return Err(ApiError::new(
            Code::Forbidden,
            detail,
            "Name a service, or omit the operator to create a token for yourself.",
        ));
    }
    let groups: Vec<&str> = access.groups.iter().map(String::as_str).collect();
    let grant = rules::token(&actor, &body, &groups, access.settings.token_days, now)?;
    if grant.role > owner.role {
        let detail = format!("The token cannot have the role {}: {operator} has the role {}.", grant.role, owner.role);
        return Err(ApiError::new(Code::Forbidden, detail, "Request the operator's role or a lower one."));
    }
    if db::tokens::tidy(&transaction, &operator, DEAD_TOKENS, now).await? >= MAX_TOKENS {
        let detail = format!("{operator} has reached the limit of {MAX_TOKENS} tokens.");
        return Err(ApiError::new(
            Code::TooManyHeld,
            detail,
            "Revoke a token that is no longer used (`filial token revoke`).",
        ));
    }
    let secret = token::generate("filial");
    let kept = Token {
        id: Uuid::new_v4(),
        operator,
        name: grant.name,
        role: grant.role,
        scope: grant.scope,
        made: now,
        expires: grant.expires,
        last_used: None,
        revoked: None,
    };
    db::tokens::insert(&transaction, &kept, &token::hash(secret.expose())).await?;
    let after = json!({ "operator": kept.operator, "name": kept.name, "role": kept.role, "scope": kept.scope,
        "expires": kept.expires });
    let change = Change::of(format!("token {}", kept.id)).because(body.reason.as_deref()).after(after);
    access.audit.commit(transaction, &caller, change).await?;
    let made = TokenMade { token: secret.expose().to_owned(), kept };
    Ok(HttpResponse::Created().insert_header((CACHE_CONTROL, "no-store")).json(made))
}

/// Tokens of the caller, or for an admin of any operator.
///
/// Newest first, with those that cannot be used any more.
#[utoipa::path(get, path = paths::TOKENS, tag = "tokens", params(Whose), responses(
    (status = 200, description = "Tokens", body = Vec<Token>),
    (status = 403, description = "Another's tokens", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list(access: Data<Access>, caller: Caller, whose: Query<Whose>) -> ApiResult<Json<Vec<Token>>> {
    let own = operator_of(&caller)?;
    let operator = whose.operator.clone().unwrap_or_else(|| own.clone());
    if operator != own && !caller.role.reaches(Role::Admin) {
        return Err(ApiError::forbidden(caller.role, Role::Admin));
    }
    Ok(Json(db::tokens::of(&connection(&access.pool).await?, &operator, ALL).await?))
}

/// Revoke a token: your own, or any as an admin. It is refused from now on.
#[utoipa::path(delete, path = paths::TOKEN, tag = "tokens", params(("id" = Uuid, Path)), responses(
    (status = 204, description = "It is revoked"),
    (status = 404, description = "No such token, or not one of the caller's", body = Problem,
        content_type = "application/problem+json"),
))]
pub async fn revoke(access: Data<Access>, caller: Caller, id: Path<Uuid>) -> ApiResult<HttpResponse> {
    let mut client = connection(&access.pool).await?;
    let transaction = begin(&mut client).await?;
    let token = db::tokens::lock(&transaction, *id).await?;
    let allowed = |token: &Token| token.operator.as_str() == caller.name || caller.role.reaches(Role::Admin);
    // Another's token is as unknown as none.
    let token =
        token.filter(allowed).ok_or_else(|| ApiError::not_found(Missing::Token, &format_args!("{id} of yours")))?;
    if db::tokens::revoke(&transaction, *id, access.clock.now()).await? {
        let before = json!({ "operator": token.operator, "name": token.name, "role": token.role });
        let change = Change::of(format!("token {id}")).before(before).after(json!({ "revoked": true }));
        access.audit.commit(transaction, &caller, change).await?;
    }
    Ok(HttpResponse::NoContent().finish())
}
