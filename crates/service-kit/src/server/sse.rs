//! Server-sent events, the sending side.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};

use crate::Shutdown;

/// How often a silent stream says that it is alive.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One event to send. `data` must be one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerEvent {
    /// What the receiver sends as `Last-Event-ID` when it comes back.
    pub id: i64,
    /// The data.
    pub data: String,
}

/// An event stream of `events`, with a comment at once (so that the receiver knows it stands) and after each
/// [`KEEP_ALIVE`] of silence. It ends at shutdown, with `events`, or when the receiver goes.
pub fn sse(events: impl Stream<Item = ServerEvent> + 'static, shutdown: Shutdown) -> HttpResponse {
    let events = Box::pin(events.fuse());
    let body = stream::unfold((events, shutdown, true), |(mut events, shutdown, first)| async move {
        if first {
            return Some((Bytes::from_static(b": connected\n\n"), (events, shutdown, false)));
        }
        let bytes = tokio::select! {
            () = shutdown.stopped() => return None,
            event = events.next() => {
                let event = event?;
                Bytes::from(format!("id: {}\ndata: {}\n\n", event.id, event.data.replace(['\r', '\n'], " ")))
            }
            () = tokio::time::sleep(KEEP_ALIVE) => Bytes::from_static(b": alive\n\n"),
        };
        Some((bytes, (events, shutdown, false)))
    });
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .streaming(body.map(Ok::<_, Infallible>))
}
