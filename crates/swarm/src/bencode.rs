//! Bencode (BEP 3), read within bounds and written in its one canonical form.
//!
//! The reader borrows from its input and refuses everything with more than one spelling: leading zeros, `-0`,
//! unsorted or repeated keys, trailing bytes. Two parsers that disagree about a torrent are an attack surface.

use std::ops::Range;

/// How deep lists and dictionaries may nest. Torrent files need four levels.
const MAX_DEPTH: usize = 16;
/// How many values one document may hold: bounds memory at some tens of megabytes whatever the input.
const MAX_VALUES: usize = 400_000;

/// Why bytes are not canonical bencode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {problem}")]
pub struct BencodeError {
    /// Offset of the offending byte.
    pub at: usize,
    /// Its stable code.
    pub(crate) code: &'static str,
    /// What is wrong there.
    pub problem: &'static str,
}

impl BencodeError {
    /// Its stable code, in kebab case.
    pub const fn code(&self) -> &'static str {
        self.code
    }
}

/// Checks that `input` is one value in its canonical form, within the bounds of torrent files.
///
/// # Errors
/// It is not.
pub fn check(input: &[u8]) -> Result<(), BencodeError> {
    parse(input).map(drop)
}

/// A value and where it stands in the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node<'a> {
    pub(crate) value: Value<'a>,
    pub(crate) span: Range<usize>,
}

/// One bencoded value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Integer(i64),
    Bytes(&'a [u8]),
    List(Vec<Node<'a>>),
    /// In key order, each key once.
    Dict(Vec<(&'a [u8], Node<'a>)>),
}

impl<'a> Node<'a> {
    /// The value of `key` if this is a dictionary that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node<'a>> {
        match &self.value {
            Value::Dict(entries) => {
                let at = entries.binary_search_by(|(k, _)| (*k).cmp(key.as_bytes())).ok()?;
                entries.get(at).map(|(_, node)| node)
            }
            _ => None,
        }
    }

    pub(crate) fn is_dict(&self) -> bool {
        matches!(self.value, Value::Dict(_))
    }

    pub(crate) fn integer(&self) -> Option<i64> {
        match self.value {
            Value::Integer(n) => Some(n),
            _ => None,
        }
    }

    pub(crate) fn bytes(&self) -> Option<&'a [u8]> {
        match self.value {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&'a str> {
        self.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    pub(crate) fn list(&self) -> Option<&[Node<'a>]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }
}

/// Reads exactly one value from `input`.
pub(crate) fn parse(input: &[u8]) -> Result<Node<'_>, BencodeError> {
    let mut reader = Reader { input, at: 0, left: MAX_VALUES };
    let node = reader.value(0)?;
    if reader.at == input.len() { Ok(node) } else { Err(reader.problem("bencode-trailing", "bytes after the end")) }
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    left: usize,
}

impl<'a> Reader<'a> {
    fn problem(&self, code: &'static str, problem: &'static str) -> BencodeError {
        BencodeError { at: self.at, code, problem }
    }

    fn peek(&self) -> Result<u8, BencodeError> {
        self.input.get(self.at).copied().ok_or_else(|| self.problem("bencode-cut-off", "the input ends early"))
    }

    fn value(&mut self, depth: usize) -> Result<Node<'a>, BencodeError> {
        if depth > MAX_DEPTH {
            return Err(self.problem("bencode-too-deep", "nested too deeply"));
        }
        self.left =
            self.left.checked_sub(1).ok_or_else(|| self.problem("bencode-too-many-values", "too many values"))?;
        let start = self.at;
        let value = match self.peek()? {
            b'i' => {
                self.at += 1;
                Value::Integer(self.number(b'e')?)
            }
            b'l' => Value::List(self.list(depth)?),
            b'd' => Value::Dict(self.dict(depth)?),
            b'0'..=b'9' => Value::Bytes(self.string()?),
            _ => return Err(self.problem("bencode-value", "not the start of a value")),
        };
        Ok(Node { value, span: start..self.at })
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node<'a>>, BencodeError> {
        self.at += 1;
        let mut items = Vec::new();
        while self.peek()? != b'e' {
            items.push(self.value(depth + 1)?);
        }
        self.at += 1;
        Ok(items)
    }

    fn dict(&mut self, depth: usize) -> Result<Vec<(&'a [u8], Node<'a>)>, BencodeError> {
        self.at += 1;
        let mut entries: Vec<(&'a [u8], Node<'a>)> = Vec::new();
        while self.peek()? != b'e' {
            let key_at = self.at;
            let key = self.string()?;
            if entries.last().is_some_and(|(last, _)| *last >= key) {
                return Err(BencodeError {
                    at: key_at,
                    code: "bencode-keys",
                    problem: "dictionary keys repeat or are out of order",
                });
            }
            entries.push((key, self.value(depth + 1)?));
        }
        self.at += 1;
        Ok(entries)
    }

    fn string(&mut self) -> Result<&'a [u8], BencodeError> {
        if !self.peek()?.is_ascii_digit() {
            return Err(self.problem("bencode-key", "expected a string"));
        }
        let length = usize::try_from(self.number(b':')?)
            .map_err(|_| self.problem("bencode-string-length", "a string's length is too large"))?;
        let end = self
            .at
            .checked_add(length)
            .ok_or_else(|| self.problem("bencode-string-length", "a string's length is too large"))?;
        let bytes = self
            .input
            .get(self.at..end)
            .ok_or_else(|| self.problem("bencode-string-length", "a string ends after the input"))?;
        self.at = end;
        Ok(bytes)
    }

    /// Digits up to `end`, in their one canonical spelling.
    fn number(&mut self, end: u8) -> Result<i64, BencodeError> {
        let start = self.at;
        while self.peek()? != end {
            // 19 digits and a sign hold every i64.
            if self.at - start >= 20 {
                return Err(self.problem("bencode-number", "a number is too long"));
            }
            self.at += 1;
        }
        let wrong = BencodeError { at: start, code: "bencode-number", problem: "not a canonical number" };
        let text = self.input.get(start..self.at).and_then(|b| std::str::from_utf8(b).ok()).ok_or(wrong)?;
        let number: i64 = text.parse().map_err(|_| wrong)?;
        if number.to_string() != text {
            return Err(wrong);
        }
        self.at += 1;
        Ok(number)
    }
}

/// Writes canonical bencode. The caller gives dictionary keys in order.
#[derive(Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes) }
    }

    pub(crate) fn integer(&mut self, value: u64) -> &mut Self {
        self.out.extend_from_slice(format!("i{value}e").as_bytes());
        self
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.out.extend_from_slice(value.len().to_string().as_bytes());
        self.out.push(b':');
        self.out.extend_from_slice(value);
        self
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.bytes(value.as_bytes())
    }

    pub(crate) fn dict(&mut self) -> &mut Self {
        self.out.push(b'd');
        self
    }

    pub(crate) fn list(&mut self) -> &mut Self {
        self.out.push(b'l');
        self
    }

    pub(crate) fn end(&mut self) -> &mut Self {
        self.out.push(b'e');
        self
    }

    /// A value that is bencoded already.
    pub(crate) fn encoded(&mut self, value: &[u8]) -> &mut Self {
        self.out.extend_from_slice(value);
        self
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(node: &Value<'_>, w: &mut Writer) {
        match node {
            Value::Integer(n) => w.out.extend_from_slice(format!("i{n}e").as_bytes()),
            Value::Bytes(bytes) => {
                w.bytes(bytes);
            }
            Value::List(items) => {
                w.list();
                items.iter().for_each(|item| encode(&item.value, w));
                w.end();
            }
            Value::Dict(entries) => {
                w.dict();
                for (key, value) in entries {
                    w.bytes(key);
                    encode(&value.value, w);
                }
                w.end();
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_parses_has_exactly_one_spelling(input in proptest::collection::vec(
            prop_oneof![Just(b'i'), Just(b'e'), Just(b'l'), Just(b'd'), Just(b':'), Just(b'-'), b'0'..=b'4', any::<u8>()], 0..60,
        )) {
            if let Ok(node) = parse(&input) {
                prop_assert_eq!(&node.span, &(0..input.len()));
                let mut w = Writer::default();
                encode(&node.value, &mut w);
                prop_assert_eq!(w.finish(), input);
            }
        }
    }

    #[test]
    fn a_well_formed_document_is_read_with_its_spans() {
        let node = parse(b"d4:infod1:ai-7ee4:listli0e2:xyee").unwrap();
        assert_eq!(node.get("info").unwrap().span, 7..16);
        assert_eq!(node.get("info").unwrap().get("a").unwrap().integer(), Some(-7));
        assert_eq!(node.get("list").unwrap().list().unwrap()[1].text(), Some("xy"));
        assert_eq!(node.get("none"), None);
    }

    #[test]
    fn ambiguity_and_excess_are_refused() {
        for (input, problem) in [
            ("i03e", "not a canonical number"),
            ("i-0e", "not a canonical number"),
            ("i+1e", "not a canonical number"),
            ("ie", "not a canonical number"),
            ("01:a", "not a canonical number"),
            ("i999999999999999999999e", "a number is too long"),
            ("9223372036854775807:a", "a string ends after the input"),
            ("d1:bi0e1:ai0ee", "dictionary keys repeat or are out of order"),
            ("d1:ai0e1:ai0ee", "dictionary keys repeat or are out of order"),
            ("di0ei0ee", "expected a string"),
            ("i1ei2e", "bytes after the end"),
            ("l", "the input ends early"),
            ("", "the input ends early"),
        ] {
            assert_eq!(parse(input.as_bytes()).unwrap_err().problem, problem, "{input}");
        }
        assert_eq!(parse("l".repeat(100_000).as_bytes()).unwrap_err().problem, "nested too deeply");
        let many = format!("l{}e", "le".repeat(MAX_VALUES));
        assert_eq!(parse(many.as_bytes()).unwrap_err().problem, "too many values");
    }
}
