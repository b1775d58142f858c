//! One picture of everything.

use actix_web::web::{Data, Json};
use service_kit::database::connection;
use wire::v1::status::Status;

use crate::app::App;
use crate::db;
use crate::error::ApiResult;
use crate::fleet::{MAX_BRANCHES, MAX_TERMINALS, branches, terminals};
use crate::releases::view_all;

/// Releases in the picture.
const RELEASES: i64 = 20;

/// Incidents in the picture.
const INCIDENTS: u64 = 5;

/// What is going on: the newest releases, branches and terminals.
#[utoipa::path(get, path = "/v1/status", tag = "status", responses((status = 200, description = "Status", body = Status)))]
pub async fn status(app: Data<App>) -> ApiResult<Json<Status>> {
    let client = connection(&app.pool).await?;
    let releases = db::releases::newest(&client, RELEASES).await?;
    let all = db::branches::all(&client, MAX_BRANCHES).await?;
    let rows = db::terminals::all(&client, MAX_TERMINALS).await?;
    Ok(Json(Status {
        now: app.clock.now(),
        incidents: db::incidents::page(&client, None, INCIDENTS).await?,
        releases: view_all(&client, &app.store, releases).await?,
        branches: branches(&client, all).await?,
        terminals: terminals(&client, rows).await?,
    }))
}
