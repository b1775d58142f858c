//! The tracker's access list, always recomputed from the database as the full set.

use std::collections::BTreeSet;

use fleet_types::InfoHash;
use service_kit::database::{DatabaseError, Pool, connection};
use swarm::{AccessList, AccessListError};
use tokio::sync::Mutex;

use crate::db;

/// Why the tracker is not in step with the database.
#[derive(Debug, thiserror::Error)]
pub enum TrackerError {
    /// The list could not be computed.
    #[error("the tracker's access list could not be computed")]
    Database(#[from] DatabaseError),
    /// The list could not be written, or the tracker not told.
    #[error(transparent)]
    List(#[from] AccessListError),
}

/// The tracker, told one thing at a time.
pub struct Tracker {
    // Computing and writing are one act: of two at once the older set could be written last.
    list: Mutex<AccessList>,
}

impl Tracker {
    /// Of this list.
    pub fn new(list: AccessList) -> Self {
        Self { list: Mutex::new(list) }
    }

    /// Lists the torrents of all releases that are published or being published.
    ///
    /// # Errors
    /// As [`TrackerError`].
    pub async fn list_all(&self, pool: &Pool) -> Result<(), TrackerError> {
        let list = self.list.lock().await;
        let hashes = wanted(pool).await?;
        list.replace(&hashes).await?;
        Ok(())
    }

    /// [`Tracker::list_all`] if the file says something else.
    ///
    /// # Errors
    /// As [`TrackerError`].
    pub async fn repair(&self, pool: &Pool) -> Result<bool, TrackerError> {
        let list = self.list.lock().await;
        let hashes = wanted(pool).await?;
        if list.read()? == hashes {
            return Ok(false);
        }
        list.replace(&hashes).await?;
        Ok(true)
    }

    /// Waits until the tracker accepts the torrent.
    ///
    /// # Errors
    /// It does not within the deadline.
    pub async fn confirm(&self, hash: &InfoHash) -> Result<(), TrackerError> {
        let list = self.list.lock().await.clone();
        Ok(list.confirm(hash).await?)
    }
}

async fn wanted(pool: &Pool) -> Result<BTreeSet<InfoHash>, DatabaseError> {
    let client = connection(pool).await?;
    Ok(db::artifacts::listed(&client).await?.into_iter().collect())
}
