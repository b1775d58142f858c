//! What of a connection is read when.
//!
//! The HTTP library takes requests from what it has read without a bound on their number: a client that sends short requests
//! without pause and reads no answer would fill the memory with them. So it gets one head at a time, and nothing while a request is
//! answered but the body of that request: one in chunks as it is asked for.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use actix_web::HttpMessage as _;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use bytes::Bytes;
use futures_util::Stream;

/// Bytes that are given at once of what comes after a connection's last request.
pub(super) const PIECE: usize = 512;

/// Bytes that are read while a request is answered, to notice that the other end left, and kept for later.
pub(super) const AHEAD: usize = 1024;

/// Bytes of a body in chunks that are given each time its handler asks for more: its end is in the bytes themselves, and what
/// follows it is read with them.
const CHUNKS: usize = 2048;

/// What may be read of one connection.
#[derive(Debug, Default)]
pub(super) struct Flow(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// A request is answered.
    busy: bool,
    body: Body,
    /// Bytes of the next request's body that were given with its head.
    given: u64,
    /// No other request is read: where the body of the last one ends is known to the library only.
    last: bool,
    /// Something was given: the library looks at it before it gets more.
    paused: bool,
    waker: Option<Waker>,
}

/// What may be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The head of a request.
    Head,
    /// At most so many bytes, as they come.
    Bytes(usize),
    /// Nothing. The task is woken when that changes.
    Nothing,
}

/// What is still to come of a request's body.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Body {
    #[default]
    Whole,
    Bytes(u64),
    /// Its end is in the bytes themselves; so many of them may be given now.
    Chunks(usize),
}

impl Flow {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what may be read now.
    pub(super) fn next(&self, cx: &Context<'_>) -> Next {
        let mut state = self.state();
        if !state.busy && state.paused {
            state.paused = false;
            cx.waker().wake_by_ref();
            return Next::Nothing;
        }
        let next = match (state.busy, state.body) {
            (false, _) if state.last => Next::Bytes(PIECE),
            (false, _) => Next::Head,
            (true, Body::Chunks(credit @ 1..)) => Next::Bytes(credit),
            (true, Body::Bytes(left @ 1..)) => Next::Bytes(usize::try_from(left).unwrap_or(usize::MAX)),
            (true, Body::Chunks(0) | Body::Bytes(0) | Body::Whole) => Next::Nothing,
        };
        if next == Next::Nothing {
            state.waker = Some(cx.waker().clone());
        }
        next
    }

    /// A head was given, with so many bytes of its body.
    pub(super) fn gave_head(&self, body: usize) {
        let mut state = self.state();
        (state.given, state.paused) = (body as u64, true);
    }

    /// Counts bytes that were given.
    pub(super) fn gave(&self, bytes: usize) {
        let mut state = self.state();
        match (state.busy, &mut state.body) {
            (false, _) => state.paused = true,
            (true, Body::Chunks(credit)) => *credit = credit.saturating_sub(bytes),
            (true, Body::Bytes(left)) => *left = left.saturating_sub(bytes as u64),
            (true, Body::Whole) => {}
        }
    }

    /// Whether a request is answered.
    pub(super) fn is_busy(&self) -> bool {
        self.state().busy
    }

    /// A request begins to be answered.
    fn begin(&self, body: Body) {
        let given = std::mem::take(&mut self.state().given);
        let body = if let Body::Bytes(length) = body { Body::Bytes(length.saturating_sub(given)) } else { body };
        self.set(true, body);
    }

    /// A request was answered.
    fn end(&self) {
        let mut state = self.state();
        state.last |= matches!(state.body, Body::Chunks(_) | Body::Bytes(1..));
        drop(state);
        self.set(false, Body::Whole);
    }

    fn set(&self, busy: bool, body: Body) {
        let mut state = self.state();
        (state.busy, state.body, state.paused) = (busy, body, false);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

/// A request that is answered, until this is dropped.
#[derive(Debug)]
pub(super) struct Answering {
    flow: Arc<Flow>,
    /// It came after the last one of its connection, and was read with the chunks of that.
    too_late: bool,
}

impl Answering {
    /// Begins with this request. None without a connection of ours.
    pub(super) fn begin(request: &mut ServiceRequest) -> Option<Self> {
        let flow = Arc::clone(request.conn_data::<Arc<Flow>>()?);
        let too_late = flow.state().last;
        if request.headers().contains_key(TRANSFER_ENCODING) {
            flow.begin(Body::Chunks(0));
            flow.state().last = true;
            let payload = request.take_payload();
            request.set_payload(Payload::Stream { payload: Box::pin(Chunks { payload, flow: Arc::clone(&flow) }) });
        } else {
            let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
            flow.begin(length.map_or(Body::Whole, Body::Bytes));
        }
        Some(Self { flow, too_late })
    }

    /// Whether the connection carries no other request: the library alone knows where the chunks end, and would take what follows
    /// them as requests.
    pub(super) fn is_last(this: Option<&Self>) -> bool {
        this.is_some_and(|answering| answering.flow.state().last)
    }

    /// Whether the request is one that a proxy may have taken for something else, because it follows chunks.
    pub(super) fn is_too_late(this: Option<&Self>) -> bool {
        this.is_some_and(|answering| answering.too_late)
    }

    /// The same body; the request is answered once it is written.
    pub(super) fn until_written(this: Option<Self>, body: BoxBody) -> BoxBody {
        match this {
            None => body,
            Some(answering) => BoxBody::new(Answer { body, _answering: answering }),
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.flow.end();
    }
}

/// A body in chunks, read as its handler asks for it.
struct Chunks {
    payload: Payload,
    flow: Arc<Flow>,
}

impl Stream for Chunks {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.payload).poll_next(cx);
        if next.is_pending() {
            self.flow.set(true, Body::Chunks(CHUNKS));
        }
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            self.flow.set(true, Body::Whole);
        }
        next
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        let mut state = self.flow.state();
        if matches!(state.body, Body::Chunks(_)) {
            state.body = Body::Whole;
        }
    }
}

/// An answer's body, with what is over when it was written.
struct Answer {
    body: BoxBody,
    _answering: Answering,
}

impl MessageBody for Answer {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(flow: &Flow) -> Next {
        flow.next(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_head_at_a_time_is_given_and_then_only_its_body() {
        let flow = Flow::default();
        assert_eq!(next(&flow), Next::Head);
        flow.gave_head(1000);
        assert_eq!((next(&flow), next(&flow)), (Next::Nothing, Next::Head), "the library looks at it first");
        flow.begin(Body::Bytes(10_000));
        assert_eq!(next(&flow), Next::Bytes(9000));
        flow.gave(8192);
        assert_eq!(next(&flow), Next::Bytes(808));
        flow.gave(808);
        assert_eq!(next(&flow), Next::Nothing);
        flow.end();
        assert_eq!(next(&flow), Next::Head, "answered, it goes on");
        flow.begin(Body::Whole);
        assert_eq!(next(&flow), Next::Nothing);
        flow.end();
        flow.begin(Body::Chunks(0));
        assert_eq!(next(&flow), Next::Nothing, "until the handler asks for it");
        flow.set(true, Body::Chunks(CHUNKS));
        assert_eq!(next(&flow), Next::Bytes(CHUNKS));
        flow.gave(CHUNKS);
        assert_eq!(next(&flow), Next::Nothing);
        flow.end();
        assert_eq!(next(&flow), Next::Bytes(PIECE), "no head follows chunks");
    }
}
