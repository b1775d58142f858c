//! Below the HTTP library. What it refuses before any handler (no HTTP, a head without end, a head that does not come)
//! it answers with a status and nothing else; here such an answer becomes a problem like every other.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use wire::{Code, Problem};

use super::bounds::Limits;
use super::connections::Place;
use super::flow::{AHEAD, Flow, Next};
use super::head::{Held, Look};
use super::stall::Stalled;
use super::transport::Connection;

/// Bytes that are read at once before it is known whose they are.
const READ: usize = 4096;

/// Longest answer that the library makes by itself, in bytes.
const MAX_BARE: usize = 512;

/// A connection whose bare refusals are replaced.
pub(super) struct Socket {
    io: Stalled<Connection>,
    place: Arc<Place>,
    flow: Arc<Flow>,
    /// What was read and is not the library's yet.
    held: Held,
    /// How long the head of a request may take from its first byte, and when that is over.
    head_within: Duration,
    head_until: Option<Pin<Box<Sleep>>>,
    /// What goes out instead of something bare.
    instead: Bytes,
}

impl Socket {
    /// A connection with these limits of time.
    pub(super) fn new(io: Connection, limits: &Limits, place: Place) -> Self {
        Self {
            io: Stalled::new(io, limits.stalled),
            place: Arc::new(place),
            flow: Arc::default(),
            held: Held::default(),
            head_within: limits.request,
            head_until: None,
            instead: Bytes::new(),
        }
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

impl Socket {
    /// Reads at most so many bytes into what is held, and returns how many these were.
    fn poll_hold(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let mut piece = [0; READ];
        let mut piece = ReadBuf::new(&mut piece[..most.min(READ)]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut piece))?;
        self.held.add(piece.filled());
        Poll::Ready(Ok(piece.filled().len()))
    }

    /// Hands over the head of a request once it is whole. Its end is the end of the connection if it does not come in time.
    fn poll_head(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.held.ready() == 0 {
            match self.held.look() {
                Look::Whole => break,
                Look::Malformed => return self.refuse(Code::MalformedHttp),
                Look::Part => {}
            }
            if !self.held.is_empty() {
                let within = self.head_within;
                let until = self.head_until.get_or_insert_with(|| Box::pin(sleep(within)));
                if until.as_mut().poll(cx).is_ready() {
                    return self.refuse(Code::Timeout);
                }
            }
            if ready!(self.poll_hold(cx, READ))? == 0 {
                if self.held.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                self.held.all();
            }
        }
        self.head_until = None;
        buf.put_slice(&self.held.take(self.held.ready().min(buf.remaining())));
        if self.held.ready() == 0 {
            self.flow.gave_head(self.held.body());
        }
        Poll::Ready(Ok(()))
    }

    /// Says why, and that nothing more comes.
    fn refuse(&mut self, code: Code) -> Poll<io::Result<()>> {
        self.held = Held::default();
        self.head_until = None;
        self.instead = problem(code);
        Poll::Ready(Ok(()))
    }

    /// Hands over at most so many bytes, as they come.
    fn poll_bytes(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, most: usize) -> Poll<io::Result<()>> {
        let most = most.min(buf.remaining());
        let before = buf.filled().len();
        if self.held.is_empty() && most == buf.remaining() {
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        } else {
            if self.held.is_empty() {
                ready!(self.poll_hold(cx, most))?;
            }
            buf.put_slice(&self.held.take(most));
        }
        self.flow.gave(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }

    /// Notices that the other end left while a request of it is answered.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.held.len() < AHEAD {
            if ready!(self.poll_hold(cx, AHEAD - self.held.len()))? == 0 {
                // What it sent before is looked at later.
                return if self.held.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
        }
        Poll::Pending
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.flow.next(cx) {
            Next::Head => self.poll_head(cx, buf),
            Next::Bytes(most) => self.poll_bytes(cx, buf, most),
            Next::Nothing if self.flow.is_busy() => self.poll_end(cx),
            Next::Nothing => Poll::Pending,
        }
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
            "The request is not HTTP/1.1 (RFC 9112), has no Host, has a line that ends without CR, or says two things about its length.",
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
