//! What an engine asks of a torrent.

use std::net::SocketAddrV4;

use tokio::sync::oneshot;

use crate::{Peer, PieceSet, TorrentStatus};

/// What the engine asks of the task.
#[derive(Debug)]
pub(crate) enum Command {
    Status(oneshot::Sender<TorrentStatus>),
    Pieces(oneshot::Sender<Option<PieceSet>>),
    Peers(oneshot::Sender<Vec<Peer>>),
    Announce,
    /// Addresses of peers.
    Learn(Vec<SocketAddrV4>),
    Verify,
    /// Verify if the content changed since it was last looked at.
    Compare,
    /// End, and say goodbye to the trackers if the torrent is removed.
    Stop {
        removed: bool,
    },
}
