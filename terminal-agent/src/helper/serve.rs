//! The helper's door: a Unix socket, one request a connection, one connection at a time. Who asks is told by the kernel; what
//! other users than the agent's send is not even read.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use wire::ReasonCode;
use wire::v1::reports::Reason;

use super::protocol::{LENGTHS, MAX_BODY, MAX_HEAD, answered, lengths_of};
use super::server::Helper;
use crate::model::reasons::DETAIL;
use crate::model::request::{Answer, Request};
use crate::ports::Clock;

/// How long a request may take to come, and an answer to be taken.
///
/// Both ends are on one machine.
const TRANSFER: Duration = Duration::from_secs(10);

/// Answers until the socket fails.
///
/// # Errors
/// What the socket says.
pub async fn serve(mut helper: Helper, socket: UnixListener, agent: u32, clock: &dyn Clock) -> io::Result<()> {
    loop {
        let (mut stream, _) = socket.accept().await?;
        let answer = attend(&mut helper, &mut stream, agent, clock).await;
        if let Err(Reason { code, text, params }) = &answer {
            tracing::warn!(%code, text, detail = params.get(DETAIL), "refused");
        }
        let sent = match answered(answer) {
            Ok(bytes) => {
                timeout(TRANSFER, stream.write_all(&bytes)).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
            }
            Err(error) => Err(error),
        };
        // A client that went away meanwhile asks again.
        if let Err(error) = sent {
            tracing::debug!(%error, "an answer was not taken");
        }
    }
}

async fn attend(helper: &mut Helper, stream: &mut UnixStream, agent: u32, clock: &dyn Clock) -> Result<Answer, Reason> {
    let peer = stream
        .peer_cred()
        .map_err(|e| Reason::new(ReasonCode::ForeignUser, format!("The user who asks is not known: {e}")))?;
    if peer.uid() != agent {
        return Err(Reason::of(ReasonCode::ForeignUser).with("user", peer.uid()).with("agent", agent));
    }
    let slow = || Reason::of(ReasonCode::RequestTooSlow).with("limit", TRANSFER.as_secs());
    let (request, body) = timeout(TRANSFER, receive(stream)).await.map_err(|_| slow())??;
    helper.answer(request, &body, clock.now()).await
}

async fn receive(stream: &mut UnixStream) -> Result<(Request, Vec<u8>), Reason> {
    let mut lengths = [0; LENGTHS];
    stream.read_exact(&mut lengths).await.map_err(|e| malformed(&e))?;
    let Some((head, body)) = lengths_of(lengths) else {
        let text =
            format!("The request is too large: its head may have {MAX_HEAD} bytes and its body {MAX_BODY} bytes.");
        return Err(Reason::new(ReasonCode::RequestTooLarge, text));
    };
    let head = exactly(stream, head).await?;
    let body = exactly(stream, body).await?;
    Ok((Request::read(&head).map_err(|e| malformed(&e.into()))?, body))
}

/// Takes as much memory as has come, not as much as was announced.
async fn exactly(stream: &mut UnixStream, length: usize) -> Result<Vec<u8>, Reason> {
    let mut bytes = Vec::new();
    let read = stream.take(length as u64).read_to_end(&mut bytes).await.map_err(|e| malformed(&e))?;
    if read != length {
        return Err(malformed(&io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes)
}

fn malformed(error: &io::Error) -> Reason {
    Reason::of(ReasonCode::RequestMalformed).with("error", error)
}
