//! Torrent files.

use crate::case::{Hostile, Reader};

/// The file that the good torrent carries.
pub const ARTIFACT_NAME: &str = "a.seg";
/// Its length in bytes.
pub const ARTIFACT_LENGTH: u64 = 300_000;

fn text(s: &str) -> Vec<u8> {
    [format!("{}:", s.len()).as_bytes(), s.as_bytes()].concat()
}

/// The parts of an info dictionary, each bencoded; an empty one is left out.
struct Info {
    content: Vec<u8>,
    name: Vec<u8>,
    piece_length: i64,
    pieces: usize,
    private: &'static str,
}

impl Default for Info {
    fn default() -> Self {
        let content = b"6:lengthi300000e".to_vec();
        Self { content, name: text(ARTIFACT_NAME), piece_length: 262_144, pieces: 2, private: "7:privatei1e" }
    }
}

impl Info {
    fn file(self) -> Vec<u8> {
        self.with_head("8:announce30:http://192.168.1.1:80/announce")
    }

    fn with_head(self, head: &str) -> Vec<u8> {
        let mut out = format!("d{head}4:infod").into_bytes();
        out.extend(&self.content);
        if !self.name.is_empty() {
            out.extend([b"4:name".to_vec(), self.name].concat());
        }
        out.extend(format!("12:piece lengthi{}e", self.piece_length).as_bytes());
        if self.pieces < 1000 {
            out.extend(format!("6:pieces{}:", self.pieces * 20).as_bytes());
            out.extend(vec![7; self.pieces * 20]);
        }
        out.extend(self.private.as_bytes());
        out.extend(b"ee");
        out
    }
}

/// A torrent that is taken.
pub fn good_torrent() -> Vec<u8> {
    Info::default().file()
}

fn files(paths: &[&[&str]]) -> Vec<u8> {
    let mut out = b"5:filesl".to_vec();
    for path in paths {
        out.extend(b"d6:lengthi300000e4:pathl");
        path.iter().for_each(|part| out.extend(text(part)));
        out.extend(b"ee");
    }
    out.push(b'e');
    out
}

pub(crate) fn hostile() -> Vec<Hostile> {
    let one = |name, code, bytes: Vec<u8>| Hostile::new(Reader::Torrent, name, code, bytes);
    let content = |content: &[u8]| Info { content: content.to_vec(), ..Info::default() }.file();
    let folder = |paths: &[&[&str]]| {
        Info { content: files(paths), pieces: (300_000 * paths.len()).div_ceil(262_144), ..Info::default() }.file()
    };
    let named = |name: &str| Info { name: text(name), ..Info::default() }.file();
    let pieces_of = |piece_length| Info { piece_length, ..Info::default() }.file();
    let good = good_torrent();
    let trackers = "l3:a:/e".repeat(65);
    vec![
        one("torrent-empty", "bencode-cut-off", Vec::new()),
        one("torrent-cut", "bencode-cut-off", good[..good.len() - 1].to_vec()),
        one("torrent-with-something-behind-it", "bencode-trailing", [good.clone(), b"e".to_vec()].concat()),
        one("torrent-lists-in-lists", "bencode-too-deep", vec![b'l'; 1 << 20]),
        one("torrent-dictionaries-in-dictionaries", "bencode-too-deep", b"d1:a".repeat(100_000)),
        one(
            "torrent-of-many-values",
            "bencode-too-many-values",
            [b"l".to_vec(), b"i0e".repeat(500_000), b"e".to_vec()].concat(),
        ),
        one("torrent-string-longer-than-the-file", "bencode-string-length", b"d4:info9223372036854775807:x".to_vec()),
        one("torrent-string-length-negative", "bencode-key", b"d-1:ae".to_vec()),
        one("torrent-number-overflows", "bencode-number", b"i99999999999999999999e".to_vec()),
        one("torrent-number-in-two-spellings", "bencode-number", b"i007e".to_vec()),
        one("torrent-keys-twice", "bencode-keys", b"d4:infode4:infodee".to_vec()),
        one("torrent-keys-out-of-order", "bencode-keys", b"d1:bi0e1:ai0ee".to_vec()),
        one("torrent-of-no-value", "bencode-value", b"x".to_vec()),
        one("torrent-too-large", "torrent-too-large", vec![b'l'; (16 << 20) + 1]),
        one("torrent-that-is-a-list", "torrent-not-dictionary", b"le".to_vec()),
        one("torrent-without-info", "torrent-no-info", b"de".to_vec()),
        one("torrent-of-version-2", "torrent-version-2", b"d4:infod12:meta versioni2eee".to_vec()),
        one("torrent-of-version-3", "torrent-version", b"d4:infod12:meta versioni3eee".to_vec()),
        one("torrent-piece-length-zero", "torrent-piece-length", pieces_of(0)),
        one("torrent-piece-length-negative", "torrent-piece-length", pieces_of(-262_144)),
        one("torrent-piece-length-odd", "torrent-piece-length", pieces_of(262_143)),
        one("torrent-piece-length-huge", "torrent-piece-length", pieces_of(1 << 40)),
        one("torrent-without-a-name", "torrent-no-name", Info { name: Vec::new(), ..Info::default() }.file()),
        one("torrent-name-leads-out", "torrent-name", named("..")),
        one("torrent-name-with-a-slash", "torrent-name", named("../../etc/passwd")),
        one("torrent-name-that-commands-a-terminal", "torrent-name", named("a\x1b[2J.seg")),
        one("torrent-name-turned-round", "torrent-name", named("a\u{202e}ges.")),
        one("torrent-name-not-utf8", "torrent-name", Info { name: b"2:\xff\xfe".to_vec(), ..Info::default() }.file()),
        one("torrent-length-zero", "torrent-length", content(b"6:lengthi0e")),
        one("torrent-length-negative", "torrent-file-length", content(b"6:lengthi-1e")),
        one("torrent-length-of-exabytes", "torrent-piece-count", content(b"6:lengthi9223372036854775807e")),
        one("torrent-without-a-length", "torrent-length-or-files", content(b"")),
        one("torrent-without-pieces", "torrent-no-pieces", Info { pieces: 1000, ..Info::default() }.file()),
        one("torrent-with-too-few-pieces", "torrent-piece-count", Info { pieces: 1, ..Info::default() }.file()),
        one("torrent-with-too-many-pieces", "torrent-piece-count", Info { pieces: 3, ..Info::default() }.file()),
        one("torrent-without-files", "torrent-file-count", content(b"5:filesle")),
        one("torrent-of-files-that-lead-out", "torrent-name", folder(&[&["..", "..", "x"]])),
        one("torrent-of-files-of-one-path", "torrent-same-path", folder(&[&["a"], &["a"]])),
        one("torrent-of-a-file-within-a-file", "torrent-same-path", folder(&[&["a"], &["a", "b"]])),
        one("torrent-of-a-deep-file", "torrent-file-path", folder(&[&["a"; 65]])),
        one("torrent-of-several-files", "torrent-other-file", folder(&[&["a"], &["b"]])),
        one("torrent-of-another-name", "torrent-other-file", named("b.seg")),
        one("torrent-of-another-length", "torrent-other-length", content(b"6:lengthi300001e")),
        one("torrent-not-private", "torrent-not-private", Info { private: "", ..Info::default() }.file()),
        one(
            "torrent-of-long-pieces",
            "torrent-long-pieces",
            Info { piece_length: 8 << 20, pieces: 1, ..Info::default() }.file(),
        ),
        one("torrent-without-a-tracker", "torrent-no-tracker", Info::default().with_head("")),
        one(
            "torrent-with-many-trackers",
            "torrent-trackers",
            Info::default().with_head(&format!("13:announce-listl{trackers}e")),
        ),
    ]
}
