//! How much the store may hold, and making room in it.

use service_kit::database::connection;
use service_kit::server::ApiError;
use wire::Code;

use crate::app::App;
use crate::db;
use crate::http::errors::ApiResult;
use crate::store::retention;

/// An archive is there twice until it is published: as it came, and as an artifact of at most about its length.
const COPIES: u64 = 2;

/// Room for an archive of so many bytes within `store.budget_bytes`, if there is such a budget. The caller has the turn of
/// those who create uploads, so that nobody else is promised the same room. If there is not enough, artifacts that only
/// withdrawn releases have and no plan names are put away, the least recently wanted first; none if that would not suffice.
///
/// # Errors
/// It does not fit.
pub async fn admit(app: &App, archive_bytes: u64) -> ApiResult<()> {
    let Some(budget) = app.settings.store.budget_bytes else { return Ok(()) };
    let needed = archive_bytes.saturating_mul(COPIES);
    let mut used = promised(app).await?;
    if used.saturating_add(needed) > budget {
        let over = used.saturating_add(needed) - budget;
        // Whoever is short of room does not wait for days to pass.
        let spare = retention::due(app, app.clock.now()).await?;
        let mut freed = 0u64;
        let enough: Vec<_> = spare
            .into_iter()
            .take_while(|artifact| {
                let go_on = freed < over;
                freed = freed.saturating_add(if go_on { artifact.length } else { 0 });
                go_on
            })
            .collect();
        if freed >= over {
            if let Err(error) = retention::put_away(app, &enough).await {
                tracing::warn!(error = %service_kit::edge::chain(&error), "no room could be made");
            }
            used = promised(app).await?;
        }
    }
    if used.saturating_add(needed) <= budget {
        return Ok(());
    }
    let detail = format!(
        "The store may hold {budget} bytes; {used} are taken or promised, and an archive of {archive_bytes} bytes needs \
         {needed} until it is published."
    );
    let remedy = "Withdraw releases that no branch needs, or raise store.budget_bytes.";
    Err(ApiError::new(Code::DiskFull, detail, remedy))
}

async fn promised(app: &App) -> ApiResult<u64> {
    let client = connection(&app.pool).await?;
    let (artifacts, archives) = db::artifacts::store_use(&client).await?;
    Ok(artifacts.saturating_add(archives.saturating_mul(COPIES)))
}
