//! Whether there is room for one more upload.

use chrono::DateTime;
use service_kit::database::connection;
use service_kit::server::ApiError;
use wire::Code;

use crate::app::App;
use crate::db;
use crate::http::errors::ApiResult;
use crate::releases::uploads;

/// Most uploads that are under way at once. Each holds a row, a file and a part of the disk.
const MOST_UNDER_WAY: usize = 100;

/// Refuses an upload for which there is no room, before anything of it arrives.
///
/// What other uploads were promised and the reserve are left out.
///
/// # Errors
/// There is no room, or too many are under way.
pub(super) async fn for_upload(app: &App, length: u64) -> ApiResult<()> {
    let others = {
        let client = connection(&app.pool).await?;
        db::releases::uploading(&client, DateTime::UNIX_EPOCH, 1 + MOST_UNDER_WAY as i64).await?
    };
    if others.len() >= MOST_UNDER_WAY {
        let detail = format!("{MOST_UNDER_WAY} uploads are under way, the most at a time.");
        return Err(ApiError::new(Code::TooMany, detail, "Finish or cancel an upload first."));
    }
    let mut promised: u64 = 0;
    for other in &others {
        let held = uploads::length(&app.store.upload(other.id)).await;
        promised = promised.saturating_add(other.archive_bytes.saturating_sub(held));
    }
    let store = app.store.clone();
    let free = tokio::task::spawn_blocking(move || store.free_bytes()).await.map_err(ApiError::internal)?;
    let free = free.map_err(ApiError::internal)?;
    let reserve = app.settings.uploads.reserve_bytes;
    if free >= length.saturating_add(promised).saturating_add(reserve) {
        return Ok(());
    }
    let mut detail =
        format!("The archive has {length} bytes. The store has {free} bytes free, {reserve} of them are kept free");
    let mut remedy = "Free space on head office's store".to_owned();
    if promised > 0 {
        detail.push_str(&format!(" and {promised} are for {} uploads under way", others.len()));
        remedy.push_str(", or cancel an upload");
    }
    Err(ApiError::new(Code::DiskFull, detail + ".", remedy + "; uploads.reserve_bytes sets how much is kept free."))
}
