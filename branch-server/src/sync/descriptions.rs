//! Where descriptions of artifacts come from, and that they are kept.

use async_trait::async_trait;
use bytes::Bytes;
use fleet_types::Digest;
use service_kit::database::{Pool, connection};

use super::describe;
use super::failure::ActionError;
use super::plan::{Stage, Wanted};
use crate::db::{self, artifacts, manifests};
use crate::upstream::{HeadOffice, UpstreamError};

/// Who has descriptions. Nothing of what comes from there is believed: whoever asks checks digests.
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

/// Describes an artifact that the plan names, unless it is described already; its record then, none if it went meanwhile.
///
/// # Errors
/// The library does not have it, or has something else; the database is gone.
pub async fn keep_description(
    pool: &Pool,
    library: &dyn Library,
    wanted: &Wanted,
) -> Result<Option<artifacts::Record>, ActionError> {
    let artifact = &wanted.artifact.sha256;
    let client = connection(pool).await?;
    artifacts::insert(&client, wanted).await?;
    let found = artifacts::read(&client, artifact).await?;
    drop(client);
    let Some(mut record) = found else { return Ok(None) };
    if record.stage == Stage::Wanted {
        let description = describe::fetch(library, wanted).await?;
        let mut client = connection(pool).await?;
        let tx = db::begin(&mut client).await?;
        manifests::insert(&tx, &wanted.manifest, &description.manifest).await?;
        artifacts::describe(&tx, artifact, &description.index, &description.torrent).await?;
        db::commit(tx).await?;
        record.stage = Stage::Described;
    }
    Ok(Some(record))
}
