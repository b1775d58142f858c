//! `GET /v1/sync`

use actix_web::web::{Data, Json};
use service_kit::database::connection;
use service_kit::server::{ApiError, Caller};
use wire::v1::paths;
use wire::v1::sync::Sync;

use crate::app::App;
use crate::artifacts::model::available;
use crate::db::{artifacts, manifests, plan, terminals};

/// What this terminal should hold and run.
///
/// The plan is head office's, byte for byte; `available` are those of its artifacts that can be fetched here now; `metadata`
/// says how new the signed metadata is that this server mirrors.
#[utoipa::path(get, path = paths::SYNC, tag = "machines", responses(
    (status = 200, description = "The plan and what is available", body = Sync),
    (status = 401, description = "`unauthenticated`", body = wire::Problem),
))]
pub async fn sync(app: Data<App>, caller: Caller) -> Result<Json<Sync>, ApiError> {
    let client = connection(&app.pool).await?;
    terminals::heard(&client, caller.terminal_name()?, app.clock.now()).await?;
    let metadata = app.metadata.believed().version();
    let Some(stored) = plan::read(&client).await? else {
        return Ok(Json(Sync { plan: None, available: Vec::new(), metadata, denied: None }));
    };
    let records = artifacts::all(&client).await?.into_iter().filter(|r| r.stage.is_available());
    let offered: Vec<_> = records.map(|r| r.wanted).collect();
    let available = available(&stored.open()?, &offered, &manifests::here(&client).await?);
    Ok(Json(Sync { plan: Some(stored.envelope), available, metadata, denied: None }))
}
