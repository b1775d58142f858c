//! A peer on a branch's LAN that announces real torrents and serves garbage.
//!
//! A daemon that hashed good data goes on to claim it: a byte is flipped in every piece behind its back, and the
//! file's time is put back so that it does not notice.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet_types::BranchName;
use serde_json::{Value, json};
use wire::v1::paths;
use wire::v1::plan::ArtifactRef;

use crate::daemon_rpc::DaemonRpc;
use crate::error::LabError;
use crate::exec::blocking;
use crate::faults::Stranger;
use crate::lab::Lab;
use crate::machine::flip_byte;
use crate::net::Net;
use crate::part::{Part, Place, Role};
use crate::recipe::write;
use crate::sites::{TRACKER_PORT, create_dir, transmission};

/// How long hashing or announcing may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A malicious peer on a branch's LAN that serves garbage.
#[derive(Debug, Clone)]
pub struct StrangerPeer {
    /// Where.
    pub stranger: Stranger,
    /// Its daemon, written like a terminal's: `branch-1/stranger-1:transmission`.
    pub part: Part,
    /// Its daemon's RPC.
    pub rpc: DaemonRpc,
    hash: String,
}

impl Lab {
    /// Lets a stranger in who has a published artifact with a byte flipped in every piece, and whose daemon believes
    /// that it is good. It does not announce itself before [`StrangerPeer::serve`].
    ///
    /// # Errors
    /// The branch or artifact does not exist, or its daemon does not do as it should.
    pub async fn poisoner(&self, branch: &BranchName, artifact: &ArtifactRef) -> Result<StrangerPeer, LabError> {
        let stranger = self.stranger(branch).await?;
        let [.., last] = stranger.address.octets();
        let name = format!("{branch}/stranger-{}", last - 200);
        let name = name.parse().map_err(|e: fleet_types::NameError| LabError::Options(e.to_string()))?;
        let part = Place::Terminal(name).part(Role::Transmission);
        let folder = self.folder().join(branch.as_str()).join(format!("stranger-{}", last - 200));
        let downloads = folder.join("artifacts");
        let (namespace, role) = (&stranger.namespace, swarm::EngineRole::Terminal);
        let recipe = transmission(namespace, &folder, &folder, &downloads, role, stranger.address)?;
        let content = downloads.join(artifact.file_name());
        self.copy_good(artifact, &content).await?;
        self.processes.start(&part, recipe)?;
        let rpc = DaemonRpc::new(&stranger.namespace, &folder);
        let peer = StrangerPeer { stranger, part, rpc, hash: artifact.info_hash.to_string() };
        let piece = self.add_verified(branch, artifact, &peer, &downloads).await?;
        blocking("spoil the pieces", move || spoil(&content, piece)).await?;
        Ok(peer)
    }

    async fn copy_good(&self, artifact: &ArtifactRef, to: &Path) -> Result<(), LabError> {
        create_dir(to.parent().unwrap_or(to))?;
        let (from, to) = (self.store(None)?.join("artifacts").join(artifact.file_name()), to.to_owned());
        blocking("copy good data", move || {
            std::fs::copy(&from, &to).map(drop).map_err(LabError::file("copy to the stranger", &from))
        })
        .await
    }

    /// Adds the torrent, stopped, and waits until the daemon has hashed everything; returns the piece length.
    async fn add_verified(
        &self,
        branch: &BranchName,
        artifact: &ArtifactRef,
        peer: &StrangerPeer,
        downloads: &Path,
    ) -> Result<u64, LabError> {
        let torrent = self.api().get_bytes(&paths::artifact_torrent(&artifact.sha256)).await?;
        let unusable = |e: swarm::TorrentError| LabError::Options(format!("head office's torrent: {e}"));
        let torrent = swarm::Torrent::parse(&torrent).map_err(unusable)?;
        let tracker = format!("http://{}:{TRACKER_PORT}/announce", Net::branch_lan_address(self.site(branch)?.number));
        let file = downloads.with_extension("torrent");
        write(&file, torrent.to_file(&[vec![tracker]]))?;
        let add = json!({ "filename": file, "download-dir": downloads, "paused": true });
        self.wait("the stranger's daemon to take the torrent", PATIENCE, async || {
            peer.rpc.call("torrent-add", add.clone()).await.map(Some)
        })
        .await?;
        peer.rpc.call("torrent-verify", json!({ "ids": [peer.hash] })).await?;
        self.wait("the stranger's daemon to believe that its data is good", PATIENCE, async || {
            let t = peer.rpc.torrent(&peer.hash, &["haveValid", "totalSize", "status"]).await?;
            Ok((t["haveValid"] == t["totalSize"] && t["totalSize"] != 0 && t["status"] == 0).then_some(()))
        })
        .await?;
        Ok(u64::from(torrent.piece_length()))
    }
}

impl StrangerPeer {
    /// Its address on the branch's LAN.
    pub fn address(&self) -> Ipv4Addr {
        self.stranger.address
    }

    /// Announces itself to the branch's tracker and serves; returns when the tracker has taken it.
    ///
    /// # Errors
    /// The tracker does not take it in time: it must list the artifact.
    pub async fn serve(&self, lab: &Lab) -> Result<(), LabError> {
        lab.wait("the tracker to take the stranger", PATIENCE, async || {
            // Each start announces; a refused announce would else be repeated after minutes only.
            self.rpc.call("torrent-start-now", json!({ "ids": [self.hash] })).await?;
            let t = self.rpc.torrent(&self.hash, &["status", "trackerStats"]).await?;
            let told = &t["trackerStats"][0];
            if told["hasAnnounced"] == true && told["lastAnnounceSucceeded"] != true {
                self.rpc.call("torrent-stop", json!({ "ids": [self.hash] })).await?;
                return Ok(None);
            }
            Ok((t["status"] == 6 && told["lastAnnounceSucceeded"] == true).then_some(()))
        })
        .await
    }

    /// Payload bytes that it ever sent.
    ///
    /// # Errors
    /// Its daemon does not answer.
    pub async fn sent(&self) -> Result<u64, LabError> {
        Ok(self.rpc.torrent(&self.hash, &["uploadedEver"]).await?["uploadedEver"].as_u64().unwrap_or(0))
    }

    /// The peers that it is connected to.
    ///
    /// # Errors
    /// Its daemon does not answer.
    pub async fn peers(&self) -> Result<Vec<Value>, LabError> {
        let t = self.rpc.torrent(&self.hash, &["peers"]).await?;
        Ok(t["peers"].as_array().cloned().unwrap_or_default())
    }
}

/// Flips a byte in the middle of every piece, and puts the file's time back.
fn spoil(content: &PathBuf, piece: u64) -> Result<(), LabError> {
    let look = |path: &PathBuf| path.metadata().map_err(LabError::file("look at", path));
    let before = look(content)?;
    let mut offset = piece / 2;
    while offset < before.len() {
        flip_byte(content, offset)?;
        offset += piece;
    }
    // The last piece may end before its middle.
    if before.len() % piece != 0 && before.len() % piece <= piece / 2 {
        flip_byte(content, before.len() - 1)?;
    }
    let time = before.modified().map_err(LabError::file("look at", content))?;
    let file = std::fs::File::options().write(true).open(content).map_err(LabError::file("open", content))?;
    file.set_modified(time).map_err(LabError::file("put back the time of", content))
}
