//! An artifact's description: index, torrent and manifest, fetched from head office and checked against the plan
//! before anything is kept or offered to a terminal.

use bytes::Bytes;
use fleet_types::Digest;
use sha2::{Digest as _, Sha256};
use swarm::torrent::lan_tiers;
use swarm::{Torrent, TorrentError};

use super::library::Library;
use super::model::Wanted;
use crate::upstream::head_office::UpstreamError;

/// Why an artifact cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// Head office did not answer, or refused.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// Something is not what the plan names.
    #[error("Head office sent {what} {artifact} with another digest than its plan names. See head office's log.")]
    Differs {
        /// `index of artifact`, `manifest`.
        what: &'static str,
        /// Which.
        artifact: String,
    },
    /// The index has the right digest and makes no sense.
    #[error(
        "The index of artifact {artifact} cannot be read. Update this branch server, or publish the release again."
    )]
    Index {
        /// Which artifact.
        artifact: String,
        /// Why not.
        source: Box<artifact::IndexError>,
    },
    /// The index describes an artifact of another length.
    #[error(
        "The index of artifact {artifact} describes {found} bytes, but the plan says {planned}. Publish the release again."
    )]
    Length {
        /// Which artifact.
        artifact: String,
        /// By the index.
        found: u64,
        /// By the plan.
        planned: u64,
    },
    /// The torrent cannot be read.
    #[error("The torrent of artifact {artifact} cannot be read. Publish the release again.")]
    Torrent {
        /// Which artifact.
        artifact: String,
        /// Why not.
        source: TorrentError,
    },
    /// The torrent is not the artifact's.
    #[error("The torrent of artifact {artifact} does not match the plan: {why}. See head office's log.")]
    OtherTorrent {
        /// Which artifact.
        artifact: String,
        /// What is wrong with it.
        why: String,
    },
}

/// What terminals need besides the pieces.
#[derive(Debug, Clone)]
pub struct Description {
    /// The release's manifest, byte for byte.
    pub manifest: Bytes,
    /// The artifact's index.
    pub index: Bytes,
    /// Head office's torrent, with its tracker.
    pub torrent: Bytes,
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::new(Sha256::digest(bytes).into())
}

/// Fetches and checks everything about `wanted`.
///
/// # Errors
/// Head office is away, or what it has is not what its plan names.
pub async fn fetch(library: &dyn Library, wanted: &Wanted) -> Result<Description, DescribeError> {
    let artifact = &wanted.artifact;
    let manifest = fetch_manifest(library, &wanted.manifest).await?;
    // One byte more than expected is allowed in, so that a longer one is told from the right one by its digest.
    let max = usize::try_from(artifact.index_length.saturating_add(1)).unwrap_or(usize::MAX);
    let index = library.index(&artifact.sha256, max).await?;
    check_index(wanted, &index)?;
    let torrent = fetch_torrent(library, wanted).await?;
    Ok(Description { manifest, index, torrent })
}

/// Fetches and checks an artifact's torrent alone, for the trackers of today.
///
/// # Errors
/// As [`fetch`].
pub async fn fetch_torrent(library: &dyn Library, wanted: &Wanted) -> Result<Bytes, DescribeError> {
    let torrent = library.torrent(&wanted.artifact.sha256).await?;
    check_torrent(wanted, &torrent)?;
    Ok(torrent)
}

/// Fetches and checks a manifest.
///
/// # Errors
/// Head office is away, or has something else under that digest.
pub async fn fetch_manifest(library: &dyn Library, manifest: &Digest) -> Result<Bytes, DescribeError> {
    let bytes = library.manifest(manifest).await?;
    check_manifest(manifest, &bytes)?;
    Ok(bytes)
}

fn check_manifest(manifest: &Digest, bytes: &[u8]) -> Result<(), DescribeError> {
    let artifact = manifest.short();
    if sha256(bytes) == *manifest { Ok(()) } else { Err(DescribeError::Differs { what: "manifest", artifact }) }
}

fn check_index(wanted: &Wanted, bytes: &[u8]) -> Result<(), DescribeError> {
    let artifact = wanted.artifact.sha256.short();
    if bytes.len() as u64 != wanted.artifact.index_length || sha256(bytes) != wanted.artifact.index_sha256 {
        return Err(DescribeError::Differs { what: "index of artifact", artifact });
    }
    let payload = artifact::PayloadId { sha256: wanted.payload.sha256, length: wanted.payload.length };
    let index = match artifact::Index::parse(bytes, payload) {
        Ok(index) => index,
        Err(source) => return Err(DescribeError::Index { artifact, source: Box::new(source) }),
    };
    let (found, planned) = (index.artifact_len(), wanted.artifact.length);
    if found == planned { Ok(()) } else { Err(DescribeError::Length { artifact, found, planned }) }
}

fn check_torrent(wanted: &Wanted, bytes: &[u8]) -> Result<Torrent, DescribeError> {
    let artifact = wanted.artifact.sha256.short();
    let torrent = match Torrent::parse(bytes) {
        Ok(torrent) => torrent,
        Err(source) => return Err(DescribeError::Torrent { artifact, source }),
    };
    let (found, planned) = (torrent.info_hash(), wanted.artifact.info_hash);
    if found != planned {
        let why = format!("its info hash is {found}, but the plan says {planned}");
        return Err(DescribeError::OtherTorrent { artifact, why });
    }
    match torrent.check_carries(&wanted.artifact.file_name(), wanted.artifact.length) {
        Ok(()) => Ok(torrent),
        Err(why) => Err(DescribeError::OtherTorrent { artifact, why: why.to_string() }),
    }
}

/// The torrent for this server's own engine: head office's trackers first, then the branch's, so that one torrent
/// is in both swarms.
///
/// # Errors
/// Head office's torrent, which was checked when it came, cannot be read any more.
pub fn own_torrent(torrent: &[u8], lan_announce_url: &str) -> Result<Vec<u8>, TorrentError> {
    let torrent = Torrent::parse(torrent)?;
    Ok(torrent.to_file(&own_tiers(&torrent, lan_announce_url)))
}

/// The trackers of [`own_torrent`].
///
/// # Errors
/// As [`own_torrent`].
pub fn own_trackers(torrent: &[u8], lan_announce_url: &str) -> Result<Vec<String>, TorrentError> {
    Ok(own_tiers(&Torrent::parse(torrent)?, lan_announce_url).concat())
}

fn own_tiers(torrent: &Torrent, lan_announce_url: &str) -> Vec<Vec<String>> {
    let mut tiers = torrent.tiers().to_vec();
    tiers.retain(|tier| !tier.is_empty() && !tier.iter().any(|url| url == lan_announce_url));
    tiers.extend(lan_tiers(lan_announce_url));
    tiers
}

/// The torrent for terminals: the branch's tracker and no other. A terminal never speaks to the WAN's.
///
/// # Errors
/// As [`own_torrent`].
pub fn lan_torrent(torrent: &[u8], lan_announce_url: &str) -> Result<Vec<u8>, TorrentError> {
    Ok(Torrent::parse(torrent)?.to_file(&lan_tiers(lan_announce_url)))
}

#[cfg(test)]
#[path = "describe_tests.rs"]
mod tests;
