//! One picture of everything.

use actix_web::web::{Data, Json};
use service_kit::database::connection;
use wire::v1::paths;
use wire::v1::status::{LeftOut, Status};

use crate::app::App;
use crate::db;
use crate::db::releases::After;
use crate::fleet::views::{branches, terminals};
use crate::http::errors::ApiResult;
use crate::releases::view::view_all;

/// Releases in the picture.
const RELEASES: i64 = 20;
/// Branches in the picture.
const BRANCHES: i64 = 1000;
/// Terminals in the picture.
const TERMINALS: i64 = 1000;

/// Incidents in the picture.
const INCIDENTS: u64 = 5;

/// What is going on: the newest releases, branches and terminals.
#[utoipa::path(get, path = paths::STATUS, tag = "status", responses((status = 200, description = "Status", body = Status)))]
pub async fn status(app: Data<App>) -> ApiResult<Json<Status>> {
    let (client, now) = (connection(&app.pool).await?, app.clock.now());
    let releases = db::releases::newest(&client, After::default(), RELEASES).await?;
    let all = db::branches::all(&client, "", BRANCHES).await?;
    let rows = db::terminals::all(&client, ("", ""), TERMINALS).await?;
    let beyond = |total: u64, shown: usize| total.saturating_sub(shown as u64);
    let left_out = LeftOut {
        releases: beyond(db::releases::count(&client).await?, releases.len()),
        branches: beyond(db::branches::count(&client).await?, all.len()),
        terminals: beyond(db::terminals::count_all(&client).await?, rows.len()),
    };
    Ok(Json(Status {
        background: app.background.list(),
        left_out,
        alerts: app.alerts.current(&client, now).await?,
        now,
        incidents: db::incidents::page(&client, None, INCIDENTS).await?,
        releases: view_all(&client, &app.store, releases).await?,
        branches: branches(&client, all).await?,
        terminals: terminals(&client, rows).await?,
    }))
}
