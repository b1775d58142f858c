//! BitTorrent for Filial: torrent files, the [`Engine`] that moves artifacts, and the tracker's [`AccessList`].
//!
//! - [`torrent`]: make, read and verify torrent files. One info dictionary serves every tier; only the trackers
//!   around it differ ([`torrent::wan_tiers`], [`torrent::lan_tiers`], [`torrent::branch_tiers`]).
//! - [`Engine`]: what the programs ask of a BitTorrent client; [`TransmissionEngine`] asks transmission-daemon,
//!   [`embedded::EmbeddedEngine`] is one in this process.
//! - [`EngineInputs`]: the section `[engine]` of a configuration, which becomes an engine here and nowhere else.
//! - [`tend`]: what an engine wants done about a torrent's peers: refuse who serves corrupt data and report it, ask a tracker
//!   again, add a torrent again.
//! - [`embedded`]: Filial's own BitTorrent engine, in process.
//! - [`ContentNames`]: where the content of a torrent lies, complete or not.
//! - [`tracker`]: the list of info hashes opentracker accepts, and the only copy of its configuration.
//!
//! What this crate must never do: decide what to fetch or to drop (the programs decide), make a torrent that is not
//! private, put a WAN tracker into a terminal's torrent, trust a torrent file or a tracker's reply beyond its bounds,
//! start or stop daemons, or call bytes held that the engine has not verified.

mod bencode;
mod content;
pub mod embedded;
mod engine;
mod hosts;
mod measures;
mod pieces;
mod role;
mod settings;
mod status;
pub mod tend;
pub mod torrent;
pub mod tracker;
mod transmission;

pub use bencode::{BencodeError, check as check_bencode};
pub use content::ContentNames;
pub use engine::{Engine, EngineError};
pub use hosts::host_of;
pub use measures::BadData;
pub use pieces::{PieceSet, PieceSetError};
pub use role::EngineRole;
pub use settings::{EngineConfig, EngineInputs, EngineSettings};
pub use status::{EngineInfo, Limits, Peer, TorrentStatus};
pub use torrent::{Created, Torrent, TorrentError, TorrentFile, Verified, create, create_any, piece_length_for};
pub use tracker::{AccessList, AccessListError, AccessListSettings, Announced, Announcement, Reload};
pub use transmission::{
    DaemonOptions, DaemonSettingsError, Encryption, SettingsError, TransmissionAccess, TransmissionEngine,
    TransmissionInputs, TransmissionSettings, daemon_arguments, daemon_settings, write_daemon_settings,
};
