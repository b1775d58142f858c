//! A client that sends in bursts and stops when told to, politely or not.

use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use service_kit::server::Role;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::support::{PATIENCE, token_of};

/// How a connection ends before its chunk does.
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    /// The client closes its side.
    Fin,
    /// The client resets the connection: what lies in buffers is lost.
    Rst,
}

/// What a chunk was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub offset: Option<u64>,
    pub text: String,
}

/// The head of a chunk that announces all of `body`.
pub fn head(address: SocketAddr, id: Uuid, offset: u64, body: usize) -> Vec<u8> {
    let token = token_of(Role::Admin);
    format!(
        "PATCH /v1/uploads/{id} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nTus-Resumable: 1.0.0\r\n\
         Upload-Offset: {offset}\r\nContent-Type: application/offset+octet-stream\r\nContent-Length: {body}\r\n\
         Connection: close\r\n\r\n"
    )
    .into_bytes()
}

/// Sends bytes in bursts of random length. False if the other side had enough.
pub async fn send(stream: &mut TcpStream, mut bytes: &[u8], dice: &mut StdRng) -> bool {
    while !bytes.is_empty() {
        let (burst, rest) = bytes.split_at(dice.random_range(1..=bytes.len().min(100_000)));
        if stream.write_all(burst).await.is_err() {
            return false;
        }
        // Now and then so that bursts arrive as such, not as one.
        if dice.next_u32().is_multiple_of(4) {
            tokio::task::yield_now().await;
        }
        bytes = rest;
    }
    true
}

/// Connects, sends `sent` bytes of head and body, and ends the connection.
pub async fn cut(address: SocketAddr, whole: &[u8], sent: usize, cut: Cut, dice: &mut StdRng) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    send(&mut stream, &whole[..sent], dice).await;
    match cut {
        Cut::Rst => rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap(),
        Cut::Fin => {
            // Half closed: the other side must notice and let go of its own accord.
            let _ = stream.shutdown().await;
            let mut rest = Vec::new();
            let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
            ended.expect("head office ends a connection that the client has closed").ok();
        }
    }
}

/// Sends a whole chunk; the answer, if one came.
pub async fn patch(address: SocketAddr, id: Uuid, offset: u64, body: &[u8], dice: &mut StdRng) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    if send(&mut stream, &head(address, id, offset, body.len()), dice).await {
        // A client that is refused early may see its connection end early; the answer is there all the same.
        send(&mut stream, body, dice).await;
    }
    answer(&mut stream).await
}

/// Reads what the connection has to say until it ends.
pub async fn answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // A reset after the answer takes nothing from it.
    let _ = ended.expect("an answer");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let lower = text.to_lowercase();
    let offset = lower.split_once("upload-offset: ").and_then(|(_, rest)| rest.split("\r\n").next()?.parse().ok());
    Some(Answer { status, offset, text })
}
