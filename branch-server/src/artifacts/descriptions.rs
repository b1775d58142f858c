//! Keeps the descriptions of artifacts.

use service_kit::database::{Pool, begin, commit, connection};

use super::describe;
use super::failure::ActionError;
use super::library::Library;
use super::model::{Stage, Wanted};
use crate::db::{artifacts, manifests};

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
