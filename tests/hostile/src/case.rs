//! A hostile file and the reader that it is meant for.

use std::fmt;

/// Who reads a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reader {
    /// Head office and `filial release validate`.
    ///
    /// An update archive, scanned and judged by every rule.
    Archive,
    /// Branch servers and terminals: the index of an artifact whose payload they know.
    Index,
    /// Terminals: one frame of an artifact.
    Frame,
    /// Branch servers and `filial torrent`: a torrent file.
    Torrent,
    /// Branch servers: an envelope with a plan.
    Plan,
    /// Terminals: GRUB's environment block.
    Block,
    /// Terminals: the kernel's command line.
    CommandLine,
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Archive => "archive",
            Self::Index => "index",
            Self::Frame => "frame",
            Self::Torrent => "torrent",
            Self::Plan => "plan",
            Self::Block => "block",
            Self::CommandLine => "command-line",
        })
    }
}

/// A hostile file.
#[derive(Debug, Clone)]
pub struct Hostile {
    /// What is hostile about it, in kebab case; unique.
    pub name: &'static str,
    /// Whom it is meant for.
    pub reader: Reader,
    /// The file.
    pub bytes: Vec<u8>,
    /// The code of the refusal.
    pub code: &'static str,
}

impl Hostile {
    pub(crate) fn new(reader: Reader, name: &'static str, code: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name, reader, bytes: bytes.into(), code }
    }
}
