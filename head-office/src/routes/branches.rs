//! Branches.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path};
use fleet_types::BranchName;
use service_kit::database::connection;
use service_kit::server::{ApiError, Caller};
use service_kit::token;
use wire::v1::fleet::{AddBranch, Branch, BranchAdded};
use wire::{Code, Problem};

use crate::app::App;
use crate::db;
use crate::error::ApiResult;
use crate::fleet::{MAX_BRANCHES, branches};

/// Branches by name, at most 1,000.
#[utoipa::path(get, path = "/v1/branches", tag = "branches", responses(
    (status = 200, description = "Branches", body = Vec<Branch>),
))]
pub async fn list(app: Data<App>) -> ApiResult<Json<Vec<Branch>>> {
    let client = connection(&app.pool).await?;
    let rows = db::branches::all(&client, MAX_BRANCHES).await?;
    Ok(Json(branches(&client, rows).await?))
}

/// One branch.
#[utoipa::path(get, path = "/v1/branches/{branch}", tag = "branches", params(("branch" = BranchName, Path)), responses(
    (status = 200, description = "The branch", body = Branch),
    (status = 404, description = "No such branch", body = Problem, content_type = "application/problem+json"),
))]
pub async fn show(app: Data<App>, branch: Path<BranchName>) -> ApiResult<Json<Branch>> {
    let client = connection(&app.pool).await?;
    let row = db::branches::find(&client, &branch).await?;
    let missing = || ApiError::not_found(format_args!("branch {branch}"));
    let found = branches(&client, vec![row.ok_or_else(missing)?]).await?.pop();
    Ok(Json(found.ok_or_else(missing)?))
}

/// Add a branch. Its join token is shown this once. A branch that nobody joined before its token expired can be added
/// again.
#[utoipa::path(post, path = "/v1/branches", tag = "branches", request_body = AddBranch, responses(
    (status = 201, description = "The branch and its join token", body = BranchAdded),
    (status = 409, description = "The name is taken", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The name is not allowed", body = Problem, content_type = "application/problem+json"),
))]
pub async fn add(app: Data<App>, caller: Caller, body: Json<AddBranch>) -> ApiResult<HttpResponse> {
    let name = &body.name;
    let join_token = token::generate("join");
    let now = app.clock.now();
    let expires = now + app.settings.join_token_life;
    let client = connection(&app.pool).await?;
    let hash = token::hash(join_token.expose());
    if !db::branches::insert(&client, name, &hash, expires, &caller.name, now).await? {
        let detail = format!("There is a branch {name} already.");
        return Err(ApiError::new(Code::NameTaken, detail, "Choose another name."));
    }
    tracing::info!(branch = %name, by = caller.name, "branch added");
    Ok(HttpResponse::Created().json(BranchAdded {
        name: name.clone(),
        join_token: join_token.expose().to_owned(),
        join_token_expires: expires,
    }))
}
