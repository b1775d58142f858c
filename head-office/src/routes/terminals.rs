//! Terminals.

use actix_web::web::{Data, Json, Path, Query};
use fleet_types::{BranchName, TerminalName};
use serde::Deserialize;
use service_kit::database::connection;
use service_kit::server::ApiError;
use wire::Problem;
use wire::v1::fleet::Terminal;

use crate::app::App;
use crate::db;
use crate::error::ApiResult;
use crate::fleet::{MAX_TERMINALS, one_terminal, terminals};

/// Which terminals.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Only those of this branch.
    pub branch: Option<BranchName>,
}

/// Terminals by branch and name, at most 10,000.
#[utoipa::path(get, path = "/v1/terminals", tag = "terminals", params(Filter), responses(
    (status = 200, description = "Terminals", body = Vec<Terminal>),
    (status = 404, description = "No such branch", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list(app: Data<App>, filter: Query<Filter>) -> ApiResult<Json<Vec<Terminal>>> {
    let client = connection(&app.pool).await?;
    let rows = match &filter.branch {
        Some(branch) => {
            if db::branches::find(&client, branch).await?.is_none() {
                return Err(ApiError::not_found(format_args!("branch {branch}")));
            }
            db::terminals::of_branch(&client, branch, MAX_TERMINALS).await?
        }
        None => db::terminals::all(&client, MAX_TERMINALS).await?,
    };
    Ok(Json(terminals(&client, rows).await?))
}

/// One terminal, with every move of its newest update.
#[utoipa::path(get, path = "/v1/terminals/{branch}/{name}", tag = "terminals",
    params(("branch" = BranchName, Path), ("name" = TerminalName, Path)), responses(
    (status = 200, description = "The terminal", body = Terminal),
    (status = 404, description = "No such terminal", body = Problem, content_type = "application/problem+json"),
))]
pub async fn show(app: Data<App>, path: Path<(BranchName, TerminalName)>) -> ApiResult<Json<Terminal>> {
    let (branch, name) = &*path;
    let client = connection(&app.pool).await?;
    let row = db::terminals::find(&client, branch, name).await?;
    let row = row.ok_or_else(|| ApiError::not_found(format_args!("terminal {branch}/{name}")))?;
    Ok(Json(one_terminal(&client, row).await?))
}
