//! Where the descriptions of artifacts come from.

use async_trait::async_trait;
use bytes::Bytes;
use fleet_types::Digest;

use crate::upstream::head_office::{HeadOffice, UpstreamError};

/// A source of descriptions. It is not trusted: callers check digests.
#[async_trait]
pub trait Library: Send + Sync {
    /// An artifact's index, at most `max` bytes.
    async fn index(&self, artifact: &Digest, max: usize) -> Result<Bytes, UpstreamError>;

    /// An artifact's WAN torrent.
    async fn torrent(&self, artifact: &Digest) -> Result<Bytes, UpstreamError>;

    /// A manifest.
    async fn manifest(&self, manifest: &Digest) -> Result<Bytes, UpstreamError>;
}

/// Head office, asked over the link.
pub struct OverTheLink<'a>(pub &'a dyn HeadOffice);

#[async_trait]
impl Library for OverTheLink<'_> {
    async fn index(&self, artifact: &Digest, max: usize) -> Result<Bytes, UpstreamError> {
        self.0.index(artifact, max).await
    }

    async fn torrent(&self, artifact: &Digest) -> Result<Bytes, UpstreamError> {
        self.0.torrent(artifact).await
    }

    async fn manifest(&self, manifest: &Digest) -> Result<Bytes, UpstreamError> {
        self.0.manifest(manifest).await
    }
}
