//! The daemon's answers as values of [`crate::Engine`].

use std::collections::BTreeMap;

use transmission_rpc::types::{ErrorType, Torrent as RpcTorrent, TorrentStatus as RpcStatus, TrackerStat};

use crate::TorrentStatus;

/// A count of the daemon; absent and negative ones are 0.
pub(super) fn unsigned(value: Option<i64>) -> u64 {
    value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0)
}

/// Returns how a torrent is doing, by the daemon's answer.
pub(super) fn status(torrent: RpcTorrent) -> TorrentStatus {
    let verifying = is_verifying(&torrent);
    // haveValid: bytes of pieces whose hash was checked, without haveUnchecked, which are blocks of unfinished pieces.
    let have_bytes = torrent.have_valid.unwrap_or(0);
    let total_bytes = unsigned(torrent.total_size);
    TorrentStatus {
        have_bytes,
        total_bytes,
        piece_length: torrent.piece_size.unwrap_or(0),
        complete: !verifying && !has_lost(&torrent) && total_bytes > 0 && have_bytes >= total_bytes,
        verifying,
        running: torrent.status != Some(RpcStatus::Stopped),
        rate_down: unsigned(torrent.rate_download),
        rate_up: unsigned(torrent.rate_upload),
        sent_bytes: unsigned(torrent.uploaded_ever),
        received_bytes: torrent.downloaded_ever.unwrap_or(0),
        corrupt_bytes: torrent.corrupt_ever.unwrap_or(0),
        peers: u32::try_from(torrent.peers_connected.unwrap_or(0)).unwrap_or(0),
        fetching: counted(&torrent, |t| Some(t.leecher_count)),
        serving: counted(&torrent, |t| t.last_announce_succeeded.then_some(t.seeder_count)),
        trackers: torrent.tracker_stats.iter().flatten().map(|t| t.announce.clone()).collect(),
        trouble: trouble(&torrent),
    }
}

/// What each tracker counted. The daemon has -1 for a tracker that did not say.
fn counted<N>(torrent: &RpcTorrent, count: impl Fn(&TrackerStat) -> Option<N>) -> BTreeMap<String, u32>
where
    u32: TryFrom<N>,
{
    let counted = |t: &TrackerStat| Some((t.announce.clone(), u32::try_from(count(t)?).ok()?));
    torrent.tracker_stats.iter().flatten().filter_map(counted).collect()
}

/// The daemon's own complaint, else that of the first tracker whose last announce failed: the daemon keeps
/// unreachable trackers to itself.
fn trouble(torrent: &RpcTorrent) -> Option<String> {
    let own = torrent.error.filter(|error| *error != ErrorType::Ok);
    if own.is_some() {
        return Some(torrent.error_string.clone().unwrap_or_default());
    }
    let failed = |tracker: &&TrackerStat| tracker.has_announced && !tracker.last_announce_succeeded;
    let tracker = torrent.tracker_stats.as_ref()?.iter().find(failed)?;
    Some(format!("tracker {}: {}", tracker.announce, tracker.last_announce_result))
}

/// Whether the daemon stopped it because of its files, such as one that is gone. What it has of them then is what it
/// remembers, not what is there.
pub(super) fn has_lost(torrent: &RpcTorrent) -> bool {
    torrent.error == Some(ErrorType::LocalError)
}

/// Whether the daemon hashes its content, or is about to.
pub(super) fn is_verifying(torrent: &RpcTorrent) -> bool {
    matches!(torrent.status, Some(RpcStatus::QueuedToVerify | RpcStatus::Verifying))
}
