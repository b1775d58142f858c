//! What both swarms of the first section carry, and what one of them is judged by.

use std::path::PathBuf;

use anyhow::{Context, Result};
use artifact::{EncodeOptions, Encoded, FileRange};
use fleet_types::Digest;
use lab::{Rate, SmallImage};
use service_kit::Shutdown;
use swarm::Torrent;

use crate::data::{encode, payload_of};
use crate::exec::blocking;
use crate::say::say;
use crate::scratch::Scratch;

/// How many terminals.
pub(crate) const TERMINALS: usize = 6;
/// What the branch server can send into its LAN.
pub(crate) const UPLINK: Rate = Rate::mbit(200);
/// Bytes that no compression makes smaller, so that the artifact is about as long.
const NOISE: usize = 100_000_000;
/// The lab's own level, so that both swarms carry the same bytes.
const LEVEL: i32 = 9;

/// What one swarm did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// From the start of the clients until the last one had everything.
    pub(crate) seconds: f64,
    /// What the server sent into the LAN meanwhile.
    pub(crate) server_bytes: u64,
}

/// What both swarms carry.
pub(crate) struct Shared {
    /// The image in the terminals' slots at first.
    pub(crate) small: PathBuf,
    /// The image that is brought out.
    pub(crate) large: PathBuf,
    /// Its artifact.
    pub(crate) encoded: Encoded,
    /// The artifact, as aria2 sends it.
    pub(crate) content: Content,
}

impl Shared {
    /// Makes the images, the artifact as head office will make it, and its torrent.
    pub(crate) async fn prepare(scratch: &Scratch, shutdown: &Shutdown) -> Result<Self> {
        say(format_args!("making an artifact of {} MB", NOISE / 1_000_000));
        let (folder, shutdown) = (scratch.folder("shared")?, shutdown.clone());
        blocking(move || {
            let small = lab::small_image(&folder, &SmallImage::new("1.0.0"))?;
            let large = lab::small_image(&folder, &SmallImage::new("2.0.0").with_noise(NOISE))?;
            let payload = payload_of(&large)?;
            let source = FileRange::whole(std::fs::File::open(&large)?)?;
            let options = EncodeOptions { level: LEVEL, workers: 2, ..EncodeOptions::default() };
            let store = folder.join("store");
            std::fs::create_dir_all(&store).context("cannot create a store")?;
            let out = store.join("artifact");
            let encoded = encode(&source, payload, &folder.join("work"), &out, &options, &shutdown)?;
            let file = store.join(format!("{}.seg", encoded.sha256));
            std::fs::rename(&out, &file).context("cannot name the artifact")?;
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let created = swarm::create(&file, &name, None, &mut |_| ())?;
            let content = Content { file, sha256: created.sha256, torrent: created.torrent };
            Ok(Self { small, large, encoded, content })
        })
        .await
    }
}

/// What is sent.
#[derive(Debug)]
pub(crate) struct Content {
    /// The file, called as the torrent calls it.
    pub(crate) file: PathBuf,
    /// Its digest.
    pub(crate) sha256: Digest,
    /// Its torrent, without trackers.
    pub(crate) torrent: Torrent,
}
