//! Server-sent events, the receiving side (WHATWG HTML, 9.2.6).

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::error::ClientError;

/// Longest event that is accepted, in bytes.
const MAX_EVENT: usize = 64 * 1024;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// Its id, to be sent as `Last-Event-ID` after a reconnect.
    pub id: Option<String>,
    /// Its type; empty for the default one.
    pub event: String,
    /// Its data, lines joined by a line feed.
    pub data: String,
}

/// A stream of events. Dropping it closes the connection.
pub struct EventStream {
    chunks: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    parser: Parser,
    url: String,
    idle: Duration,
}

impl EventStream {
    pub(super) fn new(response: reqwest::Response, url: String, idle: Duration) -> Self {
        Self { chunks: Box::pin(response.bytes_stream()), parser: Parser::default(), url, idle }
    }

    /// The next event; `None` when the server ended the stream. Safe to drop and call again.
    ///
    /// # Errors
    /// The connection broke, was silent for too long, or an event is too large.
    pub async fn next(&mut self) -> Result<Option<SseEvent>, ClientError> {
        loop {
            if let Some(event) = self.parser.ready.pop_front() {
                return Ok(Some(event));
            }
            let chunk = tokio::time::timeout(self.idle, self.chunks.next())
                .await
                .map_err(|_| ClientError::Silent { url: self.url.clone(), idle: self.idle })?;
            match chunk {
                None => return Ok(None),
                Some(Err(source)) => return Err(ClientError::Unreachable { url: self.url.clone(), source }),
                Some(Ok(bytes)) if !self.parser.feed(&bytes) => {
                    return Err(ClientError::TooLarge { url: self.url.clone(), max: MAX_EVENT });
                }
                Some(Ok(_)) => {}
            }
        }
    }
}

/// The events in what arrived; `None` if one of them is larger than is accepted. How the bytes are cut does not matter.
pub fn read_events<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<SseEvent>> {
    let mut parser = Parser::default();
    chunks.into_iter().all(|chunk| parser.feed(chunk)).then(|| parser.ready.into())
}

/// Cuts bytes into events. Lines end with LF or CRLF; a lone CR is not used by our servers.
#[derive(Default)]
struct Parser {
    line: Vec<u8>,
    data: Vec<String>,
    current: SseEvent,
    size: usize,
    ready: std::collections::VecDeque<SseEvent>,
}

impl Parser {
    /// False if an event grew over its bound.
    fn feed(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.end_of_line(&line);
            } else {
                self.line.push(byte);
                self.size += 1;
                if self.size > MAX_EVENT {
                    return false;
                }
            }
        }
        true
    }

    fn end_of_line(&mut self, line: &[u8]) {
        // What counted against the bound; as text, broken bytes would be longer and give more back than they took.
        let counted = line.len();
        let line = &*String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        if line.is_empty() {
            self.size = 0;
            let mut event = std::mem::take(&mut self.current);
            let data = std::mem::take(&mut self.data);
            if !data.is_empty() {
                event.data = data.join("\n");
                self.ready.push_back(event);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            // A comment only keeps the connection alive, and must not count against the next event.
            "" => self.size = self.size.saturating_sub(counted),
            "id" => self.current.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.current.event),
            "data" => self.data.push(value.to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(parts: &[&[u8]]) -> Vec<SseEvent> {
        let mut parser = Parser::default();
        for part in parts {
            assert!(parser.feed(part));
        }
        parser.ready.into()
    }

    #[test]
    fn comments_keep_alive_and_are_no_events() {
        assert_eq!(parse(&[b": hello\n\n", b":\n\n"]), []);
    }

    #[test]
    fn an_endless_event_is_refused_but_endless_comments_are_not() {
        let mut parser = Parser::default();
        assert!(!parser.feed(&vec![b'x'; MAX_EVENT + 1]));
        let mut parser = Parser::default();
        for _ in 0..MAX_EVENT {
            assert!(parser.feed(b": keep\r\n"));
        }
        // Comments of broken bytes buy no room for data.
        let mut parser = Parser::default();
        let chunk = [b"data:".as_slice(), &[b'x'; 1000], b"\n:", &[0xff; 1000], b"\n"].concat();
        assert!((0..200).any(|_| !parser.feed(&chunk)));
    }

    proptest! {
        #[test]
        fn events_are_the_same_however_the_bytes_are_cut(cuts in prop::collection::vec(1usize..9, 0..40)) {
            let text: &[u8] = b"id: 7\nevent: look\ndata: a\ndata: b\r\n\r\n: c\n\ndata:x\n\n";
            let mut parts = Vec::new();
            let mut rest = text;
            for cut in cuts {
                let (part, next) = rest.split_at(cut.min(rest.len()));
                parts.push(part);
                rest = next;
            }
            parts.push(rest);
            let first = SseEvent { id: Some("7".into()), event: "look".into(), data: "a\nb".into() };
            let second = SseEvent { data: "x".into(), ..SseEvent::default() };
            prop_assert_eq!(parse(&parts), vec![first, second]);
        }
    }
}
