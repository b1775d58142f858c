//! Paths of members: relative, printable, inside the archive's folder.

use std::fmt;
use std::str::FromStr;

use fleet_types::is_invisible;
use serde::{Deserialize, Deserializer, Serialize};

/// Longest path of a member in bytes.
pub(crate) const MAX_PATH_LEN: usize = 255;

/// Why a path was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsafePath {
    /// No characters at all.
    #[error("a path is empty")]
    Empty,
    /// Over 255 bytes.
    #[error("a path has {0} bytes; the limit is {MAX_PATH_LEN}")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("the path {0} is not UTF-8")]
    NotUtf8(String),
    /// Begins at the root.
    #[error("the path {0} is absolute")]
    Absolute(String),
    /// Has a component that is empty, `.` or `..`.
    #[error("the path {0} has a component that is empty, \".\" or \"..\"")]
    Component(String),
    /// Contains a control, invisible or direction-changing character, or a backslash.
    #[error("the path {0} contains a control character, an invisible character or a backslash")]
    Character(String),
}

impl UnsafePath {
    /// Its stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "path-empty",
            Self::TooLong(_) => "path-too-long",
            Self::NotUtf8(_) => "path-not-utf8",
            Self::Absolute(_) => "path-absolute",
            Self::Component(_) => "path-component",
            Self::Character(_) => "path-character",
        }
    }
}

/// The path of a member relative to the archive's root.
///
/// Stays inside it and prints on one line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct MemberPath(String);

impl MemberPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses a header's bytes. One leading `./`, as `tar` writes it, is dropped.
    ///
    /// # Errors
    /// The path could lead elsewhere or is not plain text.
    pub(crate) fn from_archive(bytes: &[u8]) -> Result<Self, UnsafePath> {
        if bytes.len() > MAX_PATH_LEN {
            return Err(UnsafePath::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| UnsafePath::NotUtf8(show(bytes)))?;
        text.strip_prefix("./").unwrap_or(text).parse()
    }

    /// Whether `self` is a folder somewhere above `other`.
    pub(crate) fn is_above(&self, other: &MemberPath) -> bool {
        other.0.strip_prefix(&self.0).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl FromStr for MemberPath {
    type Err = UnsafePath;
    fn from_str(s: &str) -> Result<Self, UnsafePath> {
        let shown = || show(s.as_bytes());
        if s.is_empty() {
            return Err(UnsafePath::Empty);
        }
        if s.len() > MAX_PATH_LEN {
            return Err(UnsafePath::TooLong(s.len()));
        }
        if s.starts_with('/') {
            return Err(UnsafePath::Absolute(shown()));
        }
        if s.chars().any(|c| c.is_control() || c == '\\' || is_invisible(c)) {
            return Err(UnsafePath::Character(shown()));
        }
        if s.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(UnsafePath::Component(shown()));
        }
        Ok(Self(s.to_owned()))
    }
}

impl fmt::Display for MemberPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for MemberPath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for MemberPath {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Formats untrusted bytes for people: quoted, escaped and truncated.
pub(crate) fn show(bytes: &[u8]) -> String {
    const SHOWN: usize = 80;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * SHOWN)]);
    let mut clipped: String = text.chars().take(SHOWN).collect();
    if clipped.len() < text.len() || bytes.len() > 4 * SHOWN {
        clipped.push('…');
    }
    format!("{clipped:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_stay_inside_and_print_on_one_line() {
        for good in ["a", "payloads/rootfs.img", "a/b/c", "a b", "филиал.img", "..a", "a..", &"x".repeat(255)] {
            assert!(good.parse::<MemberPath>().is_ok(), "{good:?} was refused");
        }
        for bad in [
            "",
            "/",
            "/etc",
            "..",
            "../a",
            "a/../b",
            "a/..",
            "a//b",
            "a/",
            "./a",
            "a\\b",
            "a\nb",
            "a\0",
            "a\u{202e}gmi.b",
            "a\u{200b}",
            &"x".repeat(256),
        ] {
            assert!(bad.parse::<MemberPath>().is_err(), "{bad:?} was accepted");
        }
        assert!(matches!(MemberPath::from_archive(b"\xff\xfe"), Err(UnsafePath::NotUtf8(_))));
        assert_eq!(MemberPath::from_archive(b"./a/b").unwrap().as_str(), "a/b");
        assert!(MemberPath::from_archive(b"././a").is_err());
    }

    #[test]
    fn a_folder_is_above_what_is_in_it() {
        let p = |s: &str| s.parse::<MemberPath>().unwrap();
        assert!(p("a").is_above(&p("a/b/c")) && p("a/b").is_above(&p("a/b/c")));
        assert!(!p("a").is_above(&p("ab/c")) && !p("a").is_above(&p("a")));
    }

    proptest! {
        #[test]
        fn an_accepted_path_never_leaves_its_folder(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(path) = MemberPath::from_archive(&bytes) {
                let joined = std::path::Path::new("/base").join(path.as_str());
                prop_assert!(joined.starts_with("/base"));
                prop_assert!(joined.components().all(|c| !matches!(c, std::path::Component::ParentDir)));
            }
        }

        #[test]
        fn what_is_shown_is_short_and_printable(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let shown = show(&bytes);
            prop_assert!(shown.len() < 1200 && !shown.chars().any(char::is_control));
        }
    }
}
