//! BitTorrent for Filial: torrent files, the [`Engine`] that moves artifacts, and the tracker's [`AccessList`].
//!
//! - [`torrent`]: make, read and verify torrent files. One info dictionary serves every tier; only the trackers
//!   around it differ ([`torrent::wan_tiers`], [`torrent::lan_tiers`], [`torrent::branch_tiers`]).
//! - [`Engine`]: what the programs ask of a BitTorrent client; [`TransmissionEngine`] asks transmission-daemon.
//! - [`Guard`]: finds, refuses and reports peers that serve corrupt data; [`Stalls`]: when to ask a tracker again;
//!   [`Shunned`]: when a torrent must be added again, because the client shuns the peers that need it.
//! - [`tracker`]: the list of info hashes opentracker accepts, and the only copy of its configuration.
//!
//! What this crate must never do: decide what to fetch or to drop (the programs decide), make a torrent that is not
//! private, put a WAN tracker into a terminal's torrent, trust a torrent file or a tracker's reply beyond its bounds,
//! start or stop daemons, or call bytes held that the engine has not verified.

mod bencode;
mod blame;
mod engine;
mod guard;
mod pieces;
mod shunned;
mod stall;
pub mod torrent;
pub mod tracker;
mod transmission;

pub use bencode::{BencodeError, check as check_bencode};
pub use blame::{BadData, Blame, Look, MAX_CANDIDATES};
pub use engine::{Engine, EngineError, EngineInfo, Limits, Peer, TorrentStatus};
pub use guard::{Guard, Judgement, Outcome, Watch, addresses_of, host_of};
pub use pieces::{PieceSet, PieceSetError};
pub use shunned::Shunned;
pub use stall::Stalls;
pub use torrent::{Created, Torrent, TorrentError, Verified, create, create_any, piece_length_for};
pub use tracker::{AccessList, AccessListError, AccessListSettings, Announced, Announcement, Reload};
pub use transmission::{
    DaemonOptions, DaemonRole, Encryption, SettingsError, TransmissionEngine, TransmissionSettings, daemon_settings,
    write_daemon_settings,
};
