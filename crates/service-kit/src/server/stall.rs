//! A connection whose other end does not read is given up.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// What the other end must take within the limit while something waits to be written, in bytes. The kernel tells of room only once
/// a third of its buffer is free, some 30 kB: a line of 9,600 bit/s, which carries 36 kB in 30 seconds, is fast enough.
pub(super) const LEAST_TAKEN: usize = 8 * 1024;

/// A stream whose writes fail once the other end has taken less than [`LEAST_TAKEN`] for as long as the limit.
///
/// An idle connection is not stalled: time counts only while something waits to be written.
pub(super) struct Stalled<T> {
    io: T,
    limit: Duration,
    /// Since something waits to be written: when it is given up, and what was taken meanwhile.
    waiting: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<T> Stalled<T> {
    pub(super) fn new(io: T, limit: Duration) -> Self {
        Self { io, limit, waiting: None }
    }

    pub(super) fn inner(&self) -> &T {
        &self.io
    }

    /// What came of a try to write or to flush.
    fn judge<R>(&mut self, cx: &mut Context<'_>, tried: Poll<io::Result<R>>, taken: usize) -> Poll<io::Result<R>> {
        if let Some((_, so_far)) = &mut self.waiting {
            *so_far += taken;
            if *so_far >= LEAST_TAKEN {
                self.waiting = None;
            }
        }
        if tried.is_ready() {
            return tried;
        }
        let limit = self.limit;
        let (until, _) = self.waiting.get_or_insert_with(|| (Box::pin(sleep(limit)), 0));
        match until.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Stalled<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Stalled<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.io).poll_write(cx, buf);
        let taken = if let Poll::Ready(Ok(taken)) = &tried { *taken } else { 0 };
        self.judge(cx, tried, taken)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tried = Pin::new(&mut self.io).poll_flush(cx);
        if tried.is_ready() {
            // Nothing waits any more.
            self.waiting = None;
        }
        self.judge(cx, tried, 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tried = Pin::new(&mut self.io).poll_shutdown(cx);
        self.judge(cx, tried, 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);

    fn pair() -> (Stalled<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(1024);
        (Stalled::new(near, LIMIT), far)
    }

    #[tokio::test]
    async fn who_never_reads_is_given_up() {
        let (mut near, far) = pair();
        let error = near.write_all(&[7; 100_000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(far);
    }

    #[tokio::test]
    async fn who_reads_a_byte_now_and_then_is_given_up_too() {
        let (mut near, mut far) = pair();
        let slow = tokio::spawn(async move {
            while far.read_u8().await.is_ok() {
                sleep(LIMIT / 10).await;
            }
        });
        let error = near.write_all(&[7; 100_000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        slow.abort();
    }

    #[tokio::test]
    async fn silence_is_no_stall() {
        let (mut near, mut far) = pair();
        let all = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.map(|_| all.len())
        });
        for _ in 0..3 {
            near.write_all(&[7; 60_000]).await.unwrap();
            near.flush().await.unwrap();
            sleep(LIMIT * 2).await;
        }
        drop(near);
        assert_eq!(all.await.unwrap().unwrap(), 180_000);
    }
}
