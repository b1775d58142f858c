//! The head of a request is handed to the HTTP library whole: the library reads what it has from the beginning each time, so
//! that a long head in small pieces would cost the square of its length, and takes every request that is in what it gets.

use bytes::{Buf, BytesMut};

/// Longest head, in bytes. The library refuses one that is as long and has no end.
pub(super) const MAX_HEAD: usize = 128 * 1024;

/// Bytes that arrived and that the library did not get yet.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: BytesMut,
    /// Where to look further for the end of a line.
    looked: usize,
    /// Where the line begins that is looked at.
    line: usize,
    /// So many bytes are the library's: a head, and what is here of its body.
    ready: usize,
    /// How many of them are of the body.
    body: usize,
}

/// What the bytes so far are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// The beginning of a head, or nothing.
    Part,
    /// A head, or what the library will refuse.
    Whole,
    /// The beginning of no request: another protocol, or a line that ends without CR, which others may not take for an end.
    Malformed,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Looks at each byte once, and finds the end of the head.
    pub(super) fn look(&mut self) -> Look {
        // An empty line before a request is ignored (RFC 9112, 2.2).
        while self.line == 0 && self.bytes.starts_with(b"\r\n") {
            self.bytes.advance(2);
            self.looked = 0;
        }
        if !self.bytes.first().is_none_or(|&first| first == b'\r' || first.is_ascii_graphic()) {
            return Look::Malformed;
        }
        while let Some(found) = self.bytes[self.looked..].iter().position(|&byte| byte == b'\n') {
            let end = self.looked + found;
            if end == 0 || self.bytes[end - 1] != b'\r' {
                return Look::Malformed;
            }
            self.looked = end + 1;
            if end - 1 == self.line {
                // Together they fit into what the library reads at once.
                let room = self.bytes.len().min(MAX_HEAD).saturating_sub(self.looked);
                self.body = body_of(&self.bytes[..end]).min(room);
                self.ready = self.looked + self.body;
                return Look::Whole;
            }
            self.line = end + 1;
        }
        self.looked = self.bytes.len();
        if self.looked >= MAX_HEAD {
            self.all();
            return Look::Whole;
        }
        Look::Part
    }

    /// Nothing more will come: what is here is the library's.
    pub(super) fn all(&mut self) {
        (self.ready, self.body) = (self.bytes.len(), 0);
    }

    /// How many of the bytes that are handed over with a head are of its body.
    pub(super) fn body(&self) -> usize {
        self.body
    }

    /// How many bytes of a head are to be handed over.
    pub(super) fn ready(&self) -> usize {
        self.ready
    }

    /// Takes the first `most` bytes.
    pub(super) fn take(&mut self, most: usize) -> BytesMut {
        let taken = self.bytes.split_to(most.min(self.bytes.len()));
        self.ready = self.ready.saturating_sub(taken.len());
        if self.ready == 0 {
            (self.looked, self.line) = (0, 0);
        }
        if self.bytes.is_empty() {
            // An idle connection holds nothing.
            self.bytes = BytesMut::new();
        }
        taken
    }
}

/// The length of the body as the head says it. The library refuses a head that says it twice or otherwise.
fn body_of(head: &[u8]) -> usize {
    let length = head.split(|&byte| byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        let value = name.eq_ignore_ascii_case(b"content-length:").then(|| std::str::from_utf8(value))?.ok()?;
        value.trim().parse().ok()
    });
    length.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked_at(text: &str) -> (Held, Look) {
        let mut held = Held::default();
        held.add(text.as_bytes());
        let look = held.look();
        (held, look)
    }

    #[test]
    fn a_head_is_handed_over_whole_with_its_body_and_without_the_next_one() {
        let text = "POST / HTTP/1.1\r\ncontent-LENGTH: 2\r\n\r\n{}GET / HTTP/1.1\r\n";
        let mut held = Held::default();
        for (n, byte) in text.bytes().enumerate() {
            held.add(&[byte]);
            let whole = n >= text.find("{}").unwrap() - 1;
            assert_eq!(held.look() == Look::Whole, whole, "after {n}");
            if whole {
                break;
            }
        }
        let (mut held, look) = looked_at(text);
        assert_eq!((look, held.body()), (Look::Whole, 2));
        assert_eq!(held.take(held.ready()), &text.as_bytes()[..text.find("GET").unwrap()]);
        assert_eq!((held.ready(), held.look()), (0, Look::Part));
        held.add(b"\r\n");
        assert_eq!((held.look(), held.body()), (Look::Whole, 0));
    }

    #[test]
    fn each_byte_of_a_long_head_is_looked_at_once() {
        let mut held = Held::default();
        held.add(b"GET / HTTP/1.1\r\nX: ");
        while held.len() < MAX_HEAD {
            assert_eq!(held.look(), Look::Part);
            assert_eq!(held.looked, held.len(), "it goes on from there");
            held.add(b"x");
        }
        assert_eq!((held.look(), held.ready()), (Look::Whole, MAX_HEAD), "the library refuses it");
    }

    #[test]
    fn what_ends_lines_without_cr_or_begins_no_request_is_malformed() {
        for text in
            ["GET / HTTP/1.1\nHost: x\r\n\r\n", "\nGET /", "GET / HTTP/1.1\r\nHost: x\r\n\n", "\x16\x03\x01", " GET"]
        {
            assert_eq!(looked_at(text).1, Look::Malformed, "{text:?}");
        }
        for text in ["", "\r", "\r\n", "\r\n\r\nGET / HTTP/1.1\r", "GET / HTTP/1.1\r\nHost: x\r\n\r"] {
            assert_eq!(looked_at(text).1, Look::Part, "{text:?}");
        }
    }
}
