//! Fetching by BitTorrent: how a torrent is doing, what its peers are up to, and the files of an artifact.

pub mod files;
pub mod peers;
pub mod remedies;
pub mod transfer;
