//! Keeps the descriptions of artifacts.

use service_kit::database::{Pool, begin, commit, connection};

use super::describe;
use super::failure::ActionError;
use super::library::Library;
use super::model::{Stage, Wanted};
use crate::db::{artifacts, manifests};

/// Asks for an artifact's torrent again, which may name other trackers now, and keeps it.
///
/// # Errors
/// As [`keep_description`].
pub async fn renew_torrent(pool: &Pool, library: &dyn Library, wanted: &Wanted) -> Result<bytes::Bytes, ActionError> {
    let torrent = describe::fetch_torrent(library, wanted).await?;
    artifacts::set_torrent(&connection(pool).await?, &wanted.artifact.sha256, &torrent).await?;
    Ok(torrent)
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
        let tx = begin(&mut client).await?;
        manifests::insert(&tx, &wanted.manifest, &description.manifest).await?;
        artifacts::describe(&tx, artifact, &description.index, &description.torrent).await?;
        commit(tx).await?;
        record.stage = Stage::Described;
    }
    Ok(Some(record))
}
