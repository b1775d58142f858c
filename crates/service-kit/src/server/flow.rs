//! How far a connection is read ahead of its answers.
//!
//! The HTTP library takes requests from what it has read without a bound on their number: a client that sends short requests
//! without pause and reads no answer would fill the memory with them. So it gets a small piece at a time, and next to nothing
//! while a request is answered; the body of that request passes freely, one in chunks as it is asked for.

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

/// Bytes that are given at once while no request is answered: some of the shortest requests, half of a usual one.
pub(super) const PIECE: usize = 512;

/// Bytes that are given ahead of answers in a connection's life. Clients of today wait for each answer (RFC 9112, 9.3.2).
const AHEAD: usize = 1024;

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
    /// Bytes that were given while a request was answered, beside its body.
    ahead: usize,
    /// A piece was given: the library looks at it before it gets another one.
    paused: bool,
    waker: Option<Waker>,
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

    /// Returns how many bytes may be read now, at most `room`. None: the task is woken when there may be more.
    pub(super) fn allowed(&self, cx: &Context<'_>, room: usize) -> Option<usize> {
        let mut state = self.state();
        let most = match (state.busy, state.body) {
            (false, _) if state.paused => {
                state.paused = false;
                cx.waker().wake_by_ref();
                return None;
            }
            (false, _) => PIECE,
            (true, Body::Chunks(credit)) => credit,
            (true, Body::Bytes(left @ 1..)) => usize::try_from(left).unwrap_or(room),
            (true, Body::Bytes(0) | Body::Whole) => AHEAD.saturating_sub(state.ahead),
        };
        if most == 0 {
            state.waker = Some(cx.waker().clone());
            return None;
        }
        Some(most.min(room))
    }

    /// Counts bytes that were read.
    pub(super) fn took(&self, bytes: usize) {
        let mut state = self.state();
        match (state.busy, &mut state.body) {
            (false, _) => state.paused = true,
            (true, Body::Chunks(credit)) => *credit = credit.saturating_sub(bytes),
            (true, Body::Bytes(left @ 1..)) => *left = left.saturating_sub(bytes as u64),
            (true, Body::Bytes(0) | Body::Whole) => state.ahead += bytes,
        }
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
pub(super) struct Answering(Arc<Flow>);

impl Answering {
    /// Begins with this request. None without a connection of ours.
    pub(super) fn begin(request: &mut ServiceRequest) -> Option<Self> {
        let flow = Arc::clone(request.conn_data::<Arc<Flow>>()?);
        if request.headers().contains_key(TRANSFER_ENCODING) {
            flow.set(true, Body::Chunks(0));
            let payload = request.take_payload();
            request.set_payload(Payload::Stream { payload: Box::pin(Chunks { payload, flow: Arc::clone(&flow) }) });
        } else {
            let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
            flow.set(true, length.map_or(Body::Whole, Body::Bytes));
        }
        Some(Self(flow))
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
        self.0.set(false, Body::Whole);
    }
}

/// A body in chunks, read as its handler asks for it. What follows its end, or its being given up, is read ahead.
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

    fn allowed(flow: &Flow) -> Option<usize> {
        flow.allowed(&Context::from_waker(Waker::noop()), 8192)
    }

    #[test]
    fn a_piece_at_a_time_is_given_before_a_request_and_little_beside_its_body() {
        let flow = Flow::default();
        assert_eq!(allowed(&flow), Some(PIECE));
        flow.took(100);
        assert_eq!((allowed(&flow), allowed(&flow)), (None, Some(PIECE)), "the library looks at each piece first");
        flow.set(true, Body::Bytes(9000));
        assert_eq!(allowed(&flow), Some(8192));
        flow.took(8192);
        assert_eq!(allowed(&flow), Some(808));
        flow.took(808);
        assert_eq!(allowed(&flow), Some(AHEAD));
        flow.took(1000);
        assert_eq!(allowed(&flow), Some(24));
        flow.took(24);
        assert_eq!(allowed(&flow), None);
        flow.set(false, Body::Whole);
        assert_eq!(allowed(&flow), Some(PIECE), "answered, it goes on");
        flow.set(true, Body::Whole);
        assert_eq!(allowed(&flow), None, "what was given ahead stays counted");
        flow.set(true, Body::Chunks(0));
        assert_eq!(allowed(&flow), None, "until the handler asks for it");
        flow.set(true, Body::Chunks(CHUNKS));
        assert_eq!(allowed(&flow), Some(CHUNKS));
        flow.took(CHUNKS);
        assert_eq!(allowed(&flow), None);
    }
}
