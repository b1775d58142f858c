//! A client of HTTP that sends whatever it is told, also what no decent client would, and reads what comes back.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer must come within this time, in a test of anything but time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Maximum bytes sent of an endless body; a server that has not refused by then never will.
const ENDLESS: usize = 256 << 20;

/// Bytes to send to a listener.
#[derive(Debug, Clone)]
pub struct RawRequest {
    bytes: Vec<u8>,
    /// Sent again and again after `bytes`.
    endless: Option<Vec<u8>>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct RawAnswer {
    /// The status of the first answer.
    pub status: u16,
    /// Its headers, one a line, in lower case.
    pub headers: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl RawRequest {
    /// Exactly these bytes.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), endless: None }
    }

    /// A request that is one: `line` is `METHOD /path`, each header `Name: value`.
    ///
    /// Its length is declared unless a header does so; the connection is closed after it.
    pub fn new(line: &str, headers: &[String], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut head = format!("{line} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        let lower = head.to_ascii_lowercase();
        let declared = lower.contains("\ncontent-length:") || lower.contains("\ntransfer-encoding:");
        if !body.is_empty() && !declared {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        Self { bytes: [head.as_bytes(), body].concat(), endless: None }
    }

    /// Then `chunk` without end.
    #[must_use]
    pub fn then_endlessly(mut self, chunk: impl Into<Vec<u8>>) -> Self {
        self.endless = Some(chunk.into());
        self
    }

    /// Sends it on a new connection and reads the first answer.
    ///
    /// The connection stays open while the answer is awaited, so that a request that is not whole is not the end of
    /// it.
    ///
    /// # Panics
    /// Nothing that is HTTP came back in time.
    pub async fn send(&self, to: SocketAddr) -> RawAnswer {
        let stream = TcpStream::connect(to).await.unwrap_or_else(|e| panic!("{to} does not listen: {e}"));
        let (mut reading, mut writing) = stream.into_split();
        let this = self.clone();
        let sender = tokio::spawn(async move {
            // The other side may refuse in the middle; what it says then is what counts.
            let _ = writing.write_all(&this.bytes).await;
            let Some(chunk) = &this.endless else { return writing };
            let mut sent = 0;
            while sent < ENDLESS && writing.write_all(chunk).await.is_ok() {
                sent += chunk.len();
            }
            writing
        });
        let mut came = Vec::new();
        let answer = tokio::time::timeout(PATIENCE, async {
            let mut buffer = vec![0; 64 << 10];
            loop {
                if let Some(answer) = parse(&came) {
                    return answer;
                }
                match reading.read(&mut buffer).await {
                    Ok(0) | Err(_) => panic!("the connection ended after {:?}", String::from_utf8_lossy(&came)),
                    Ok(n) => came.extend_from_slice(&buffer[..n]),
                }
            }
        });
        let answer = answer.await.unwrap_or_else(|_| panic!("no answer within {} s", PATIENCE.as_secs()));
        sender.abort();
        answer
    }
}

/// The first whole answer in `bytes`.
fn parse(bytes: &[u8]) -> Option<RawAnswer> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status = head.get(9..12)?.parse().ok()?;
    let rest = &bytes[end + 4..];
    let (_, headers) = head.split_once("\r\n").unwrap_or((&head, ""));
    let length = headers.lines().find_map(|l| l.strip_prefix("content-length: "));
    let length: usize = length.and_then(|l| l.trim().parse().ok()).unwrap_or(0);
    let body = rest.get(..length)?.to_vec();
    Some(RawAnswer { status, headers: headers.replace("\r\n", "\n"), body })
}

impl RawAnswer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "))
    }
}
