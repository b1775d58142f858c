//! A small real artifact: encoded by the crate that encodes them, with a real torrent.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use artifact::{EncodeOptions, FileRange, PayloadId};
use fleet_types::{Digest, Version};
use sha2::Digest as _;
use swarm::torrent::wan_tiers;
use wire::v1::plan::{ArtifactRef, PayloadRef, Step};

/// Head office's tracker; nobody is there.
pub const WAN_TRACKER: &str = "http://127.0.0.1:9/announce";

/// Everything that head office has of one artifact.
pub struct Fixture {
    pub step: Step,
    pub manifest: Vec<u8>,
    pub index: Vec<u8>,
    pub torrent: Vec<u8>,
    pub file: Vec<u8>,
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::new(sha2::Sha256::digest(bytes).into())
}

/// Bytes that do not compress and differ by `seed`.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    (0..length / 8).flat_map(|_| next().to_le_bytes()).collect()
}

impl Fixture {
    /// An artifact of half a megabyte.
    pub fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let payload = noise(512 << 10, seed);
        let path = dir.path().join("payload");
        File::create(&path).unwrap().write_all(&payload).unwrap();
        let source = FileRange::whole(File::open(&path).unwrap()).unwrap();
        let id = PayloadId { sha256: sha256(&payload), length: payload.len() as u64 };
        let options = EncodeOptions { segment_size: 64 << 10, level: 1, workers: 1 };
        let (work, out) = (dir.path().join("work"), dir.path().join("artifact"));
        std::fs::create_dir(&work).unwrap();
        let encoded = artifact::encode(&source, id, &work, &out, &options, &|_| {}, &|| false).unwrap();
        let name = format!("{}.seg", encoded.sha256);
        let created = swarm::create(&out, &name, None, &mut |_| {}).unwrap();
        assert_eq!(created.sha256, encoded.sha256);
        let file = std::fs::read(&out).unwrap();
        let manifest = format!("format = 1\n# {seed}\n").into_bytes();
        let artifact = ArtifactRef {
            sha256: encoded.sha256,
            length: encoded.length,
            index_sha256: encoded.index_sha256,
            index_length: encoded.index_length,
            info_hash: created.torrent.info_hash(),
        };
        let step = Step {
            terminals: vec!["till-1".parse().unwrap()],
            product: "till".parse().unwrap(),
            version: Version::new(1, 0, seed),
            manifest: sha256(&manifest),
            payload: PayloadRef { name: "root".into(), sha256: id.sha256, length: id.length },
            artifact,
            downgrade: false,
        };
        let index = file[..usize::try_from(encoded.index_length).unwrap()].to_vec();
        Self { step, manifest, index, torrent: created.torrent.to_file(&wan_tiers(WAN_TRACKER)), file }
    }

    /// SHA-256 of `bytes`.
    pub fn digest_of(bytes: &[u8]) -> Digest {
        sha256(bytes)
    }

    /// The same, but the plan claims another digest for the artifact's file than it has: as if head office were wrong,
    /// or SHA-1 pieces had been forged. Its torrent goes by the claimed name.
    pub fn with_false_digest(seed: u64) -> Self {
        let mut fixture = Self::new(seed);
        fixture.step.artifact.sha256 = sha256(b"something else");
        fixture.retorrent();
        fixture
    }

    fn retorrent(&mut self) {
        let dir = tempfile::tempdir().unwrap();
        let path: &Path = &dir.path().join("artifact");
        File::create(path).unwrap().write_all(&self.file).unwrap();
        let created = swarm::create(path, &self.step.artifact.file_name(), None, &mut |_| {}).unwrap();
        self.step.artifact.info_hash = created.torrent.info_hash();
        self.torrent = created.torrent.to_file(&wan_tiers(WAN_TRACKER));
    }
}
