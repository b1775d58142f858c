//! The event stream of a branch: each event only says "look again", and what was missed is replayed from the outbox.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::Stream;
use futures_util::stream;
use service_kit::database::{DatabaseError, connection, outbox};
use service_kit::server::{ApiError, Caller, ServerEvent, sse};
use tokio::sync::watch;
use wire::v1::paths;
use wire::v1::sync::Event;
use wire::{Code, Problem};

use crate::app::App;
use crate::fleet::events::{MAX_STREAMS, Slot, audience};
use crate::http::errors::ApiResult;

/// Events that are read at once; they are coalesced anyway.
const BATCH: i64 = 1000;

/// Opens the stream. `Last-Event-ID` asks for what came after it.
#[utoipa::path(get, path = paths::EVENTS, tag = "plan", responses(
    (status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream"),
    (status = 429, description = "Too many streams are open", body = Problem, content_type = "application/problem+json"),
))]
pub async fn events(request: HttpRequest, app: Data<App>, caller: Caller) -> ApiResult<HttpResponse> {
    let branch = caller.branch_name()?;
    let slot = app.streams.open(branch).ok_or_else(|| {
        let detail = format!("{branch} has {MAX_STREAMS} event streams open.");
        ApiError::new(Code::TooManyStreams, detail, "Close the others, or wait until they time out.")
    })?;
    let last = request.headers().get("Last-Event-ID").and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<i64>().ok());
    // Subscribed before the first look: what comes between the two wakes.
    let woken = app.wakeups.subscribe();
    let start = start(&app, last).await?;
    let state = State { app: app.clone(), audience: audience(branch), woken, start, _slot: slot };
    Ok(sse(follow(state), app.shutdown.clone()))
}

enum Start {
    /// Something may have been missed, or this is the first time.
    ///
    /// Say so at once, then go on after this id.
    Now(i64),
    /// Replay what came after this id.
    After(i64),
}

async fn start(app: &App, last: Option<i64>) -> Result<Start, DatabaseError> {
    let client = connection(&app.pool).await?;
    let newest = outbox::latest_id(&client).await?;
    let oldest = outbox::oldest_id(&client).await?;
    Ok(match last {
        // An id that we never gave comes from before a restore of the database.
        Some(id) if id >= oldest - 1 && id <= newest => Start::After(id),
        _ => Start::Now(newest),
    })
}

struct State {
    app: Data<App>,
    audience: String,
    woken: watch::Receiver<u64>,
    start: Start,
    _slot: Slot,
}

fn follow(state: State) -> impl Stream<Item = ServerEvent> {
    stream::unfold(state, |mut state| async move {
        let after = match state.start {
            Start::Now(id) => {
                state.start = Start::After(id);
                return Some((look_again(id), state));
            }
            Start::After(id) => id,
        };
        loop {
            state.woken.borrow_and_update();
            match newest_after(&state, after).await {
                Ok(Some(id)) => {
                    state.start = Start::After(id);
                    return Some((look_again(id), state));
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "events cannot be read; looking again later"),
            }
            // The sender lives in the application; without it there is nothing more to tell.
            state.woken.changed().await.ok()?;
        }
    })
}

/// The newest event after `id`. Many become one: the receiver looks once.
async fn newest_after(state: &State, id: i64) -> Result<Option<i64>, DatabaseError> {
    let client = connection(&state.app.pool).await?;
    let events = outbox::after(&client, id, &[&state.audience], BATCH).await?;
    Ok(events.last().map(|e| e.id))
}

fn look_again(id: i64) -> ServerEvent {
    let data = serde_json::to_string(&Event::LookAgain).unwrap_or_default();
    ServerEvent { id, data }
}
