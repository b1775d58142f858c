//! Below the HTTP library. What it refuses before any handler (no HTTP, a head without end, a head that does not come)
//! it answers with a status and nothing else; here such an answer becomes a problem like every other.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wire::{Code, Problem};

use super::connections::Place;
use super::flow::{Flow, PIECE};
use super::stall::Stalled;
use super::transport::Connection;

/// Longest answer that the library makes by itself, in bytes.
const MAX_BARE: usize = 512;

/// A connection whose bare refusals are replaced.
pub(super) struct Socket {
    io: Stalled<Connection>,
    place: Arc<Place>,
    flow: Arc<Flow>,
    /// What goes out instead of something bare.
    instead: Bytes,
}

impl Socket {
    /// A connection whose other end is given up once it has not read for `stalled`.
    pub(super) fn new(io: Connection, stalled: Duration, place: Place) -> Self {
        Self { io: Stalled::new(io, stalled), place: Arc::new(place), flow: Arc::default(), instead: Bytes::new() }
    }

    /// What is below.
    pub(super) fn connection(&self) -> &Connection {
        self.io.inner()
    }

    /// The place that it takes.
    pub(super) fn place(&self) -> Arc<Place> {
        Arc::clone(&self.place)
    }

    /// What may be read of it.
    pub(super) fn flow(&self) -> Arc<Flow> {
        Arc::clone(&self.flow)
    }

    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.instead.has_remaining() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.instead))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(most) = self.flow.allowed(cx, buf.remaining()) else { return Poll::Pending };
        let before = buf.filled().len();
        if most == buf.remaining() {
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        } else {
            let mut piece = [0; PIECE];
            let mut piece = ReadBuf::new(&mut piece[..most.min(PIECE)]);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut piece))?;
            buf.put_slice(piece.filled());
        }
        self.flow.took(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_instead(cx))?;
        let Some(code) = bare(buf) else { return Pin::new(&mut self.io).poll_write(cx, buf) };
        self.instead = problem(code);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Whether the library alone says this, and why. Whatever a handler or the guard answers carries a request's id.
fn bare(bytes: &[u8]) -> Option<Code> {
    if bytes.len() > MAX_BARE || !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let status = text.strip_prefix("HTTP/1.1 ").or_else(|| text.strip_prefix("HTTP/1.0 "))?.get(..4)?;
    let code = match status {
        "400 " => Code::MalformedHttp,
        "408 " => Code::Timeout,
        "431 " => Code::HeaderTooLarge,
        _ => return None,
    };
    let of_ours =
        text.lines().any(|line| line.get(..13).is_some_and(|name| name.eq_ignore_ascii_case("x-request-id:")));
    (!of_ours).then_some(code)
}

/// The answer to a connection that is not taken.
pub(super) fn turned_away() -> Bytes {
    problem(Code::TooMany)
}

fn problem(code: Code) -> Bytes {
    let (detail, remedy) = match code {
        Code::HeaderTooLarge => (
            "The request's line and headers are longer than 128 KiB, or there are more than 96 headers.",
            "Send fewer and shorter headers; long values belong in the body.",
        ),
        Code::TooMany => (
            "There are too many connections from this address, or in all.",
            "Close connections that are not used, and try again in a moment.",
        ),
        Code::Timeout => ("The head of the request did not arrive in time.", "Send the whole request at once."),
        _ => (
            "The request is not HTTP/1.1 (RFC 9112), has no Host, or says two things about its length.",
            "Use an HTTP client; a proxy in between may have damaged the request.",
        ),
    };
    let id = uuid::Uuid::new_v4().to_string();
    tracing::debug!(%id, %code, "refused before it was a request");
    let problem = Problem { request_id: Some(id.clone()), ..Problem::new(code, detail, remedy) };
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let (status, title) = (code.status(), code.title());
    Bytes::from(format!(
        "HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\nx-request-id: {id}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_library_says_alone_is_replaced() {
        let bare_400 = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        assert_eq!(bare(bare_400), Some(Code::MalformedHttp));
        assert_eq!(bare(b"HTTP/1.1 408 Request Timeout\r\n\r\n"), Some(Code::Timeout));
        assert_eq!(bare(b"HTTP/1.0 431 Request Header Fields Too Large\r\n\r\n"), Some(Code::HeaderTooLarge));
        for other in [
            "HTTP/1.1 400 Bad Request\r\nX-Request-Id: 7\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 4",
            "data: x\n\n\r\n\r\n",
        ] {
            assert_eq!(bare(other.as_bytes()), None, "{other}");
        }
        assert_eq!(bare(&[b"HTTP/1.1 400 ".as_slice(), &[b'x'; 600], b"\r\n\r\n"].concat()), None);
    }

    #[test]
    fn a_problem_is_a_whole_answer() {
        let text = String::from_utf8(problem(Code::HeaderTooLarge).to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 431 ") && head.ends_with(&format!("content-length: {}", body.len())));
        assert_eq!(serde_json::from_str::<Problem>(body).unwrap().code, Code::HeaderTooLarge);
    }
}
