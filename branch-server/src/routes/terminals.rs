//! What an enrolled terminal asks: its plan, a call when to look again, and to take its reports.

use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;
use service_kit::database::{DatabaseError, connection, outbox};
use service_kit::edge::chain;
use service_kit::server::{Caller, ServerEvent, sse};
use tokio::sync::watch;
use wire::v1::reports::{Acknowledged, Batch};
use wire::v1::sync::{Event, Sync};

use crate::app::{App, StreamPermit, TERMINALS};
use crate::db::{artifacts, manifests, plan, terminals};
use crate::error::ApiError;
use crate::intake;
use crate::sync::plan::available;

/// What this terminal should hold and run.
///
/// The plan is head office's, byte for byte; `available` are those of its artifacts that can be fetched here now; `metadata`
/// says how new the signed metadata is that this server mirrors.
#[utoipa::path(get, path = "/v1/sync", tag = "machines", responses(
    (status = 200, description = "The plan and what is available", body = Sync),
    (status = 401, description = "`unauthenticated`", body = wire::Problem),
))]
pub async fn sync(app: Data<App>, caller: Caller) -> Result<Json<Sync>, ApiError> {
    let client = connection(&app.pool).await?;
    terminals::heard(&client, caller.terminal_name()?, app.clock.now()).await?;
    let metadata = app.metadata.believed().version();
    let Some(stored) = plan::read(&client).await? else {
        return Ok(Json(Sync { plan: None, available: Vec::new(), metadata }));
    };
    let records = artifacts::all(&client).await?.into_iter().filter(|r| r.stage.is_available());
    let offered: Vec<_> = records.map(|r| r.wanted).collect();
    let available = available(&stored.open()?, &offered, &manifests::here(&client).await?);
    Ok(Json(Sync { plan: Some(stored.envelope), available, metadata }))
}

/// Where a terminal's stream is.
struct Position {
    app: Data<App>,
    wake: watch::Receiver<u64>,
    after: i64,
    permit: StreamPermit,
}

/// Calls to look again.
///
/// Server-sent events without state: whoever gets one asks `/v1/sync`. `Last-Event-ID` brings what was missed. A terminal
/// holds at most two streams: a third one ends its oldest.
#[utoipa::path(get, path = "/v1/events", tag = "machines", responses(
    (status = 200, description = "An endless stream of `\"look-again\"`", body = String, content_type = "text/event-stream"),
    (status = 401, description = "`unauthenticated`", body = wire::Problem),
))]
pub async fn events(app: Data<App>, caller: Caller, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let permit = app.streams.open(caller.terminal_name()?);
    // Subscribed before looking, so that nothing falls between.
    let wake = app.wakeups.subscribe();
    let client = connection(&app.pool).await?;
    let latest = outbox::latest_id(&client).await?;
    drop(client);
    let asked =
        request.headers().get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<i64>().ok());
    // A number from another life of the database is ahead of it: then everything may have been missed.
    let after = asked.map_or(latest, |id| if id > latest { 0 } else { id });
    let shutdown = app.shutdown.clone();
    let position = Position { app, wake, after, permit };
    let calls = stream::unfold(position, |mut at| async move {
        loop {
            match newest_after(&at.app, at.after).await {
                Ok(Some(id)) => {
                    at.after = id;
                    let data = serde_json::to_string(&Event::LookAgain).unwrap_or_default();
                    return Some((ServerEvent { id, data }, at));
                }
                Ok(None) => {}
                // The stream stays: the next wake-up looks again.
                Err(error) => tracing::debug!(error = %chain(&error), "events could not be read"),
            }
            tokio::select! {
                woken = at.wake.changed() => woken.ok()?,
                () = at.permit.ended() => return None,
            }
        }
    });
    Ok(sse(calls, shutdown))
}

/// The newest call after `after`, if there is one: several at once are one.
async fn newest_after(app: &App, after: i64) -> Result<Option<i64>, DatabaseError> {
    let client = connection(&app.pool).await?;
    Ok(outbox::after(&client, after, &[TERMINALS], 1000).await?.last().map(|event| event.id))
}

/// Take a terminal's reports.
///
/// Numbered from 1 within an epoch; repeat them until they are acknowledged, each counts once.
#[utoipa::path(post, path = "/v1/reports", tag = "machines", request_body = Batch, responses(
    (status = 200, description = "Stored durably up to here", body = Acknowledged),
    (status = 401, description = "`unauthenticated`", body = wire::Problem),
    (status = 403, description = "`not-yourself`: about another terminal", body = wire::Problem),
    (status = 409, description = "`report-out-of-order`: one is missing before these", body = wire::Problem),
    (status = 413, description = "`batch-too-long`: more than 200 reports", body = wire::Problem),
    (status = 422, description = "`bad-field`", body = wire::Problem),
    (status = 429, description = "`too-many`: head office was away for too long", body = wire::Problem),
))]
pub async fn reports(app: Data<App>, caller: Caller, body: Json<Batch>) -> Result<Json<Acknowledged>, ApiError> {
    intake::store(&app, caller.terminal_name()?, &body).await.map(Json)
}
