//! Flaws that one pass over an archive can find, each under the rule that it breaks.

use std::fmt;

use tar::EntryType;

use crate::manifest::MANIFEST_NAME;
use crate::path::UnsafePath;

/// The rules that a [`Flaw`] can break.
pub(crate) const ARCHIVE_SHAPE: &str = "archive-shape";
/// The rule on paths.
pub(crate) const PATHS_SAFE: &str = "paths-safe";

/// One way in which a header or an extension record can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Why {
    /// Its stable code.
    pub code: &'static str,
    /// The rest of the sentence after its subject.
    pub says: &'static str,
    /// The remedy.
    pub remedy: &'static str,
}

/// The remedy for bytes that no `tar` writes.
const DAMAGED: &str = "The file is damaged or not an uncompressed tar: pack it again with `filial release pack`.";
/// The remedy for sparse files.
pub(crate) const NOT_SPARSE: &str =
    "Pack without `--sparse` (`-S`), or use `filial release pack`; with `bsdtar`, add `--no-read-sparse`.";
/// The remedy for archives of several volumes.
pub(crate) const ONE_VOLUME: &str = "Pack without `--multi-volume` (`-M`), or use `filial release pack`.";

impl Why {
    pub(crate) const fn new(code: &'static str, says: &'static str) -> Self {
        Self { code, says, remedy: DAMAGED }
    }

    /// For what an option of `tar` adds: the remedy names the option.
    pub(crate) const fn with(code: &'static str, says: &'static str, remedy: &'static str) -> Self {
        Self { code, says, remedy }
    }

    /// What keeps a member of this kind from being read at all, if anything does.
    ///
    /// Of these kinds the size says nothing reliable about what follows, or they have none.
    pub(crate) fn unreadable(kind: EntryType) -> Option<Self> {
        Some(match kind.as_byte() {
            b'S' => Self::with("member-sparse", "is a sparse file", NOT_SPARSE),
            b'V' => Self::with(
                "member-volume-label",
                "is a volume label",
                "Pack without `--label` (`-V`), or use `filial release pack`.",
            ),
            b'M' => Self::with("member-volume", "continues a file of another volume", ONE_VOLUME),
            b'D' => Self::with(
                "member-incremental",
                "lists a folder for an incremental backup",
                "Pack without `--listed-incremental` (`-g`) and `--incremental` (`-G`), or use `filial release pack`.",
            ),
            _ => return None,
        })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.says)
    }
}

/// A flaw of an archive. Names from the archive are quoted and truncated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// No bytes at all.
    #[error("the archive is empty")]
    Empty,
    /// Another container, or a tar inside a compression.
    #[error("the archive is {with}, not a plain tar")]
    Compressed {
        /// What it is.
        with: &'static str,
    },
    /// It ends in the middle of a block or member.
    #[error("the archive ends after {at} bytes, in the middle of {inside}")]
    Truncated {
        /// Its length in bytes.
        at: u64,
        /// What is cut off.
        inside: String,
    },
    /// It ends at a member's end but without the end mark.
    #[error("the archive ends after {at} bytes without the two zero blocks that end a tar")]
    NoEnd {
        /// Its length in bytes.
        at: u64,
    },
    /// An invalid header.
    #[error("the block at byte {at} is not a tar header: {why}")]
    BadHeader {
        /// Offset in the archive.
        at: u64,
        /// What is wrong with it.
        why: Why,
    },
    /// An invalid GNU long name or PAX record.
    #[error("the extension record at byte {at} {why}")]
    BadExtension {
        /// Offset in the archive.
        at: u64,
        /// What is wrong with it.
        why: Why,
    },
    /// A member of a kind that only some programs write, and that cannot be read here.
    #[error("the member at byte {at} {why}")]
    Unreadable {
        /// Offset in the archive.
        at: u64,
        /// What it is.
        why: Why,
    },
    /// A GNU long name or PAX record over the limit.
    #[error("the extension record at byte {at} has {bytes} bytes; the limit is {limit}")]
    LongExtension {
        /// Offset in the archive.
        at: u64,
        /// Its length.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Over the length limit.
    #[error("the archive is longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: u64,
    },
    /// Over the limit of members.
    #[error("the archive has more than {limit} members")]
    TooManyMembers {
        /// The limit.
        limit: u64,
    },
    /// Bytes after the end mark.
    #[error("the archive has data after its end, at byte {at}")]
    Trailing {
        /// Offset of the first byte that should not be there.
        at: u64,
    },
    /// Endless zeros after the end mark.
    #[error("the archive's end is followed by more than {limit} zero bytes")]
    LongFill {
        /// The limit.
        limit: u64,
    },
    /// The first member is not the manifest.
    #[error("the first member is {first}, not {MANIFEST_NAME}")]
    NotFirst {
        /// Its name.
        first: String,
    },
    /// A member that is neither a regular file nor a folder.
    #[error("the member {path} is a {kind}")]
    Kind {
        /// Its name.
        path: String,
        /// What it is.
        kind: &'static str,
        /// The code for such a kind.
        code: &'static str,
    },
    /// The same path twice.
    #[error("the archive contains {path} twice")]
    Duplicate {
        /// Its name.
        path: String,
    },
    /// A member that the manifest does not list.
    #[error("the member {path} is not listed in {MANIFEST_NAME}")]
    Unknown {
        /// Its name.
        path: String,
    },
    /// A missing payload file.
    #[error("the file {path} of payload {payload} is not in the archive")]
    Missing {
        /// The file.
        path: String,
        /// The payload.
        payload: String,
    },
    /// An unsafe path.
    #[error(transparent)]
    Path(#[from] UnsafePath),
}

impl Flaw {
    /// The id of the rule that this breaks.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Path(_) => PATHS_SAFE,
            _ => ARCHIVE_SHAPE,
        }
    }

    /// The stable code, in kebab case.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "archive-empty",
            Self::Compressed { .. } => "archive-compressed",
            Self::Truncated { .. } => "archive-truncated",
            Self::NoEnd { .. } => "archive-no-end",
            Self::BadHeader { why, .. } | Self::BadExtension { why, .. } | Self::Unreadable { why, .. } => why.code,
            Self::LongExtension { .. } => "extension-too-long",
            Self::TooLong { .. } => "archive-too-long",
            Self::TooManyMembers { .. } => "archive-too-many-members",
            Self::Trailing { .. } => "archive-trailing-data",
            Self::LongFill { .. } => "archive-long-fill",
            Self::NotFirst { .. } => "manifest-not-first",
            Self::Kind { code, .. } => code,
            Self::Duplicate { .. } => "member-duplicate",
            Self::Unknown { .. } => "member-unknown",
            Self::Missing { .. } => "member-missing",
            Self::Path(why) => why.code(),
        }
    }

    /// The remedy.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Empty | Self::Truncated { .. } | Self::NoEnd { .. } => {
                "Pack it again with `filial release pack`, or repeat the interrupted copy."
            }
            Self::Compressed { .. } => "Unpack it and pack it with `filial release pack`, which does not compress.",
            Self::BadHeader { why, .. } | Self::BadExtension { why, .. } | Self::Unreadable { why, .. } => why.remedy,
            Self::LongExtension { .. } => {
                "Pack without `--xattrs`, `--acls` and `--selinux`, or use `filial release pack`."
            }
            Self::TooLong { .. } | Self::TooManyMembers { .. } => {
                "Deliver less in one release, or raise the limit under [archive-shape] in policy.toml."
            }
            Self::Trailing { .. } | Self::LongFill { .. } => {
                "Data was appended to the archive: pack it again with `filial release pack`."
            }
            Self::NotFirst { .. } => {
                "Pack with `filial release pack`; with `tar`, name release.toml before all other files."
            }
            Self::Kind { .. } => "Replace it with a regular file; `tar --dereference` follows links.",
            Self::Duplicate { .. } => "Pack each file once.",
            Self::Unknown { .. } => "List it in a [[payload]] of release.toml, or leave it out.",
            Self::Missing { .. } => "Add the file, or remove the [[payload]] from release.toml.",
            Self::Path(_) => "Use short relative UTF-8 paths without \"..\".",
        }
    }

    /// Whether the rest of the archive cannot be read because of it.
    pub(crate) const fn ends_the_pass(&self) -> bool {
        !matches!(
            self,
            Self::NotFirst { .. }
                | Self::Kind { .. }
                | Self::Duplicate { .. }
                | Self::Unknown { .. }
                | Self::Missing { .. }
                | Self::Path(_)
        )
    }
}
