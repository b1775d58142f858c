//! The helper's door: a Unix socket, one request a connection, one connection at a time. Who asks is told by the kernel; what
//! anybody else than the agent's user sends is not even read.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use wire::v1::reports::Reason;

use super::protocol::{Answer, LENGTHS, MAX_BODY, MAX_HEAD, Request, answered, lengths_of};
use super::server::Helper;
use crate::ports::Clock;

/// How long a request may take to come, and an answer to be taken: both ends are on one machine.
const TRANSFER: Duration = Duration::from_secs(10);

/// Answers until the socket fails.
///
/// # Errors
/// What the socket says.
pub async fn serve(mut helper: Helper, socket: UnixListener, agent: u32, clock: &dyn Clock) -> io::Result<()> {
    loop {
        let (mut stream, _) = socket.accept().await?;
        let answer = attend(&mut helper, &mut stream, agent, clock).await;
        if let Err(Reason { code, text, .. }) = &answer {
            tracing::warn!(%code, text, "refused");
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
    let peer =
        stream.peer_cred().map_err(|e| Reason::new("foreign-user", format!("the peer's user is not known: {e}")))?;
    if peer.uid() != agent {
        let text = format!("user {} is not allowed, only user {agent} is: check helper.agent_user", peer.uid());
        return Err(Reason::new("foreign-user", text));
    }
    let slow = || {
        let text = format!("the request was not complete within {} s: send it at once", TRANSFER.as_secs());
        Reason::new("request-too-slow", text)
    };
    let (request, body) = timeout(TRANSFER, receive(stream)).await.map_err(|_| slow())??;
    helper.answer(request, &body, clock.now()).await
}

async fn receive(stream: &mut UnixStream) -> Result<(Request, Vec<u8>), Reason> {
    let mut lengths = [0; LENGTHS];
    stream.read_exact(&mut lengths).await.map_err(|e| malformed(&e))?;
    let Some((head, body)) = lengths_of(lengths) else {
        let text = format!("a request has a head of at most {MAX_HEAD} bytes and a body of at most {MAX_BODY}");
        return Err(Reason::new("request-too-large", text));
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
    let text = format!("the request is not valid in this version ({error}): update agent and helper together");
    Reason::new("request-malformed", text)
}
