//! Why something that was decided is not done.

use service_kit::database::DatabaseError;
use swarm::{AccessListError, EngineError, TorrentError};

use super::describe::DescribeError;
use crate::artifacts::store::StoreError;

/// Why an action was not done.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// PostgreSQL.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Head office, or what it sent.
    #[error(transparent)]
    Describe(#[from] DescribeError),
    /// The tracker does not take the access list.
    #[error("The branch's tracker does not accept the artifact.")]
    Tracker(#[from] AccessListError),
    /// The BitTorrent daemon.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The kept torrent cannot be read.
    #[error("The stored torrent cannot be read. The database is damaged or was edited.")]
    Torrent(#[from] TorrentError),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An internal task failed.
    #[error("An internal task failed. See the log.")]
    Task(#[source] tokio::task::JoinError),
}
