//! `GET /v1/events`

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;
use service_kit::database::{DatabaseError, Pool, connection, outbox};
use service_kit::edge::chain;
use service_kit::server::{ApiError, Caller, ServerEvent, sse};
use tokio::sync::watch;
use wire::v1::paths;
use wire::v1::sync::Event;

use crate::app::App;
use crate::terminals::calls::TERMINALS;
use crate::terminals::streams::StreamPermit;

/// Where a terminal's stream is.
struct Position {
    pool: Pool,
    wake: watch::Receiver<u64>,
    after: i64,
    permit: StreamPermit,
}

/// Calls to look again.
///
/// Server-sent events without state: ask `/v1/sync` after each. `Last-Event-ID` repeats what was missed. A terminal holds at
/// most two streams: a third ends the oldest.
#[utoipa::path(get, path = paths::EVENTS, tag = "machines", responses(
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
    let position = Position { pool: app.pool.clone(), wake, after, permit };
    let calls = stream::unfold(position, |mut at| async move {
        loop {
            match newest_after(&at.pool, at.after).await {
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
async fn newest_after(pool: &Pool, after: i64) -> Result<Option<i64>, DatabaseError> {
    let client = connection(pool).await?;
    Ok(outbox::after(&client, after, &[TERMINALS], 1000).await?.last().map(|event| event.id))
}
