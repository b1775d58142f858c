//! Kits, which an operator carries to the branch.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::{Data, Json, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use bytes::{Bytes, BytesMut};
use fleet_types::{Digest, size};
use futures_util::Stream;
use serde::Deserialize;
use service_kit::server::{ApiError, Caller};
use tokio::time::timeout;
use wire::Code;
use wire::v1::kit::{CarriedReports, Imported, Kit, MAX_KIT};
use wire::v1::paths;

use crate::app::App;
use crate::artifacts::model::RESERVE_BYTES;
use crate::artifacts::store::{Arrival, StoreError};
use crate::plan::kit::awaited;
use crate::reports::relay;

/// How long a body may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// How much is written at once, in bytes.
const CHUNK: usize = 1024 * 1024;

/// Import a kit.
///
/// Its metadata and plan are judged as if they had come over the link. The answer names the artifacts whose files to send
/// next.
#[utoipa::path(post, path = paths::KIT, tag = "operators", request_body = Kit, responses(
    (status = 200, description = "The plan that the branch follows now, and the files that it wants", body = Imported),
    (status = 401, description = "`unauthenticated`", body = wire::Problem),
    (status = 409, description = "`other-branch`; `kit-refused`: its metadata or plan is not accepted", body = wire::Problem),
    (status = 413, description = "`too-large`", body = wire::Problem),
    (status = 423, description = "`kit-busy`", body = wire::Problem),
    (status = 503, description = "`not-ready`: this branch server has not enrolled itself", body = wire::Problem),
), security(("bearer" = [])))]
pub async fn import(app: Data<App>, caller: Caller, payload: Payload) -> Result<Json<Imported>, ApiError> {
    let _alone = app.carrying.try_lock().map_err(|_| busy())?;
    let mut payload = Box::pin(payload);
    let mut body = BytesMut::new();
    while let Some(chunk) = next(payload.as_mut()).await? {
        if body.len() + chunk.len() > MAX_KIT {
            let detail = format!("The kit is larger than {MAX_KIT} bytes.");
            return Err(ApiError::new(Code::TooLarge, detail, "Write it with filial kit export."));
        }
        body.extend_from_slice(&chunk);
    }
    let kit: Kit = serde_json::from_slice(&body).map_err(|e| {
        ApiError::new(Code::NotJson, format!("The body is not a kit: {e}."), "Write it with filial kit export.")
    })?;
    tracing::info!(by = caller.name, bytes = body.len(), "a kit arrives");
    app.kits.import(app.head_office.branch(), kit, caller).await.map(Json)
}

/// Send the file of an artifact that the branch wants.
///
/// It is hashed while it arrives; something else than the plan names leaves nothing behind.
#[utoipa::path(put, path = paths::KIT_ARTIFACT, tag = "operators",
    params(("sha256" = Digest, Path, description = "The artifact")), request_body = Vec<u8>,
    responses(
        (status = 204, description = "It is here"),
        (status = 401, description = "`unauthenticated`", body = wire::Problem),
        (status = 404, description = "`not-found`: no plan names it", body = wire::Problem),
        (status = 408, description = "`timeout`: it stopped arriving", body = wire::Problem),
        (status = 409, description = "`wrong-state`: it is here already, or no kit was imported", body = wire::Problem),
        (status = 422, description = "`not-as-planned`; `bad-field`: no digest, or another length", body = wire::Problem),
        (status = 423, description = "`kit-busy`", body = wire::Problem),
        (status = 507, description = "`disk-full`", body = wire::Problem),
    ), security(("bearer" = [])))]
pub async fn artifact(
    app: Data<App>,
    caller: Caller,
    sha256: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let artifact: Digest = sha256.parse().map_err(|e| ApiError::bad_field("sha256", e))?;
    let _alone = app.carrying.try_lock().map_err(|_| busy())?;
    let length = awaited(&app.pool, &artifact).await??.wanted.artifact.length;
    let said = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    if said != Some(length) {
        return Err(ApiError::bad_field("Content-Length", format!("must be {length}, as the plan says")));
    }
    let store = app.store.clone();
    let begun = blocking(move || {
        let free = store.disk(|_| true).free_bytes.unwrap_or(0);
        if free.saturating_sub(RESERVE_BYTES) < length { Ok(Err(free)) } else { store.receive(&artifact).map(Ok) }
    });
    let arrival = begun.await?.map_err(|free| {
        let detail = format!(
            "The store's disk has {} free; this needs {}, and {} in reserve.",
            size(free),
            size(length),
            size(RESERVE_BYTES)
        );
        ApiError::new(Code::DiskFull, detail, "Make room on the store's disk, then send it again.")
    })?;
    let arrived = receive(arrival, payload, length).await?;
    if !blocking(move || arrived.finish()).await? {
        let detail = format!("The received file is not artifact {artifact}: its SHA-256 differs.");
        return Err(ApiError::new(
            Code::NotAsPlanned,
            detail,
            "The copy is damaged: write the kit again with `filial kit export`.",
        ));
    }
    // The file has arrived, whatever becomes of the row.
    app.signals.pass.notify_one();
    app.kits.brought(&artifact, length, &caller).await?;
    tracing::info!(artifact = %artifact.short(), by = caller.name, "an artifact was brought by hand");
    Ok(HttpResponse::NoContent().finish())
}

/// Writes what arrives, a megabyte at a time.
async fn receive(mut arrival: Arrival, payload: Payload, length: u64) -> Result<Arrival, ApiError> {
    let mut payload = Box::pin(payload);
    let mut gathered = BytesMut::with_capacity(CHUNK);
    loop {
        let chunk = next(payload.as_mut()).await?;
        let ended = chunk.is_none();
        gathered.extend_from_slice(&chunk.unwrap_or_default());
        if arrival.written() + gathered.len() as u64 > length {
            return Err(ApiError::bad_field("body", format!("is longer than {length} bytes")));
        }
        if gathered.len() >= CHUNK || ended {
            let bytes = gathered.split().freeze();
            let mut at = arrival;
            arrival = blocking(move || at.add(&bytes).map(|()| at)).await?;
        }
        if ended {
            return Ok(arrival);
        }
    }
}

/// The reports that wait, to be carried to head office.
///
/// Repeat with the number of the last one until none comes. They wait on, and go over the link too when it is back: head
/// office counts each once.
#[utoipa::path(get, path = paths::KIT_REPORTS, tag = "operators", params(After), responses(
    (status = 200, description = "At most 200, the oldest first", body = CarriedReports),
    (status = 401, description = "`unauthenticated`", body = wire::Problem),
    (status = 503, description = "`not-ready`: this branch server has not enrolled itself", body = wire::Problem),
), security(("bearer" = [])))]
pub async fn reports(app: Data<App>, after: Query<After>) -> Result<Json<CarriedReports>, ApiError> {
    let Some(branch) = app.head_office.branch() else {
        let detail = "This branch server has not enrolled at head office, so it has no reports.";
        return Err(ApiError::new(Code::NotReady, detail, "Enrol it once over the network."));
    };
    let batch = relay::carry(&app.pool, after.after.unwrap_or(0)).await?;
    Ok(Json(CarriedReports { branch, batch }))
}

/// Which reports.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// Those after this number; all without.
    pub after: Option<u64>,
}

fn busy() -> ApiError {
    ApiError::new(
        Code::KitBusy,
        "Another kit is being imported at this branch.",
        "Try again when that import has ended.",
    )
}

/// The next bytes of a body; none at its end.
async fn next(mut payload: Pin<&mut Payload>) -> Result<Option<Bytes>, ApiError> {
    match timeout(SILENCE, poll_fn(|context| payload.as_mut().poll_next(context))).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
        Ok(Some(Err(error))) => {
            let detail = "The body ended before it was complete.";
            Err(ApiError::new(Code::BadRequest, detail, "Send it again.").because(error))
        }
        Err(_) => {
            let detail = format!("No data arrived for {} s.", SILENCE.as_secs());
            Err(ApiError::new(Code::Timeout, detail, "Send it again."))
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)?.map_err(|error| match &error {
        StoreError::Write { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            let detail = "The store's disk became full.";
            ApiError::new(Code::DiskFull, detail, "Make room on the store's disk, then send it again.").because(error)
        }
        _ => ApiError::internal(error),
    })
}
