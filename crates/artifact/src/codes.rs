//! The stable codes of what a stranger can send.

use crate::decode::SegmentError;
use crate::index::IndexError;

impl IndexError {
    /// Its stable code, in kebab case.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Read(_) => "index-unreadable",
            Self::Length { .. } => "index-length",
            Self::Magic => "index-magic",
            Self::Unsupported { code, .. } => code,
            Self::Reserved => "index-reserved",
            Self::SegmentSize(_) => "index-segment-size",
            Self::TooManySegments { .. } => "index-too-many-segments",
            Self::SegmentCount { .. } => "index-segment-count",
            Self::OtherPayload { .. } => "index-other-payload",
            Self::FrameOffset { .. } => "index-frame-offset",
            Self::FrameLength { .. } => "index-frame-length",
            Self::ZeroDigest(_) => "index-zero-digest",
        }
    }
}

impl SegmentError {
    /// Its stable code, in kebab case.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "segment-unknown",
            Self::FrameLength { .. } => "segment-frame-length",
            Self::Shape { .. } => "segment-shape",
            Self::Decode { .. } => "segment-damaged",
            Self::Digest { .. } => "segment-digest",
        }
    }
}
