//! Small releases: an image that says its version, its artifact, manifest and torrent, all by the real crates.

use std::io::Write;
use std::sync::Mutex;

use artifact::{EncodeOptions, FileRange, PayloadId, encode};
use fleet_types::{Digest, Version};
use sha2::{Digest as _, Sha256};
use swarm::{Torrent, create};
use wire::v1::plan::{ArtifactRef, PayloadRef, Step};

pub const TRACKER: &str = "http://10.1.0.1:6969/announce";
pub const FOREIGN_TRACKER: &str = "http://192.0.2.9:6969/announce";

#[derive(Clone)]
pub struct TestRelease {
    pub version: Version,
    pub image: Vec<u8>,
    pub payload: PayloadRef,
    pub artifact: ArtifactRef,
    pub artifact_bytes: Vec<u8>,
    pub index: Vec<u8>,
    pub manifest: Vec<u8>,
    pub torrent: Torrent,
}

pub fn digest(bytes: &[u8]) -> Digest {
    Digest::new(Sha256::digest(bytes).into())
}

/// Bytes that do not compress, different for each seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let block = |n: u64| Sha256::digest([seed.to_le_bytes(), n.to_le_bytes()].concat());
    let mut bytes: Vec<u8> = (0..length.div_ceil(32) as u64).flat_map(block).collect();
    bytes.truncate(length);
    bytes
}

/// An artifact of the image, and the length of its index.
fn encoded(image: &[u8], segment_size: u32) -> (Vec<u8>, usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut source = tempfile::tempfile().unwrap();
    source.write_all(image).unwrap();
    let id = PayloadId { sha256: digest(image), length: image.len() as u64 };
    let source = FileRange::new(source, 0, id.length);
    let options = EncodeOptions { segment_size, level: 3, workers: 1 };
    let (out, work) = (dir.path().join("artifact"), dir.path().join("work"));
    let encoded = encode(&source, id, &work, &out, &options, &|_| {}, &|| false).unwrap();
    (std::fs::read(&out).unwrap(), encoded.index_length as usize)
}

impl TestRelease {
    pub fn new(version: &str) -> Self {
        Self::with(version, "", "")
    }

    /// With another manifest (lines after the head) and a flavour, so that two of one version differ.
    pub fn with(version: &str, head: &str, flavour: &str) -> Self {
        let seed = version.bytes().chain(flavour.bytes()).fold(7u64, |s, b| s.wrapping_mul(31).wrapping_add(b.into()));
        let mut image = format!("IMAGE_VERSION={version}\n").into_bytes();
        image.extend(noise(seed, 300_000));
        // A segment of zeros in the middle, and a last one that is not whole.
        image[131_072..196_608].fill(0);
        Self::of_image(version, head, image)
    }

    pub fn of_image(version: &str, head: &str, image: Vec<u8>) -> Self {
        let id = PayloadId { sha256: digest(&image), length: image.len() as u64 };
        let (bytes, index_length) = encoded(&image, 65_536);
        let manifest = format!(
            "format = 1\nproduct = \"kiosk\"\nversion = \"{version}\"\nnotes = \"test\"\n{head}\n[[payload]]\n\
             name = \"rootfs\"\nkind = \"slot-image\"\ncompatible = [\"kiosk\"]\nfile = \"payloads/rootfs.img\"\n\
             size = {}\nsha256 = \"{}\"\n",
            id.length, id.sha256
        )
        .into_bytes();
        let payload = PayloadRef { name: "rootfs".into(), sha256: id.sha256, length: id.length };
        let version = version.parse().unwrap();
        Self::of_artifact(version, payload, manifest, image, bytes, index_length)
    }

    /// The same release, whose payload travels as another artifact.
    pub fn encoded_again(&self) -> Self {
        let Self { version, payload, manifest, image, .. } = self.clone();
        let (bytes, index_length) = encoded(&image, 131_072);
        let again = Self::of_artifact(version, payload, manifest, image, bytes, index_length);
        assert_ne!(again.artifact, self.artifact);
        again
    }

    /// Whatever the artifact holds.
    fn of_artifact(
        version: Version,
        payload: PayloadRef,
        manifest: Vec<u8>,
        image: Vec<u8>,
        artifact_bytes: Vec<u8>,
        index_length: usize,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (path, sha256) = (dir.path().join("artifact"), digest(&artifact_bytes));
        std::fs::File::create(&path).unwrap().write_all(&artifact_bytes).unwrap();
        let torrent = create(&path, &format!("{sha256}.seg"), Some(16_384), &mut |_| {}).unwrap().torrent;
        let index = artifact_bytes[..index_length].to_vec();
        let artifact = ArtifactRef {
            sha256,
            length: artifact_bytes.len() as u64,
            index_sha256: digest(&index),
            index_length: index_length as u64,
            info_hash: torrent.info_hash(),
        };
        Self { version, image, payload, artifact, artifact_bytes, index, manifest, torrent }
    }

    /// The same release, of which an artifact says that it holds the payload, and holds `image`.
    pub fn forged(&self, image: Vec<u8>) -> Self {
        let evil = Self::of_image(&self.version.to_string(), "", image);
        let (mut bytes, index_length) = (evil.artifact_bytes, evil.index.len());
        let (own, claimed) = (evil.payload.sha256.as_bytes(), self.payload.sha256.as_bytes());
        let at = bytes[..index_length].windows(own.len()).position(|w| w == own).unwrap();
        bytes[at..at + own.len()].copy_from_slice(claimed);
        let (payload, manifest) = (self.payload.clone(), self.manifest.clone());
        Self::of_artifact(self.version.clone(), payload, manifest, evil.image, bytes, index_length)
    }

    pub fn step(&self) -> Step {
        Step {
            terminals: vec!["till-1".parse().unwrap()],
            product: "kiosk".parse().unwrap(),
            version: self.version.clone(),
            manifest: digest(&self.manifest),
            payload: self.payload.clone(),
            artifact: self.artifact.clone(),
            downgrade: false,
        }
    }
}

/// Encoding costs time: the two releases that most tests use are made once.
pub fn v1() -> TestRelease {
    cached(0, "1.0.0")
}

pub fn v2() -> TestRelease {
    cached(1, "2.0.0")
}

fn cached(place: usize, version: &str) -> TestRelease {
    static MADE: Mutex<[Option<TestRelease>; 2]> = Mutex::new([None, None]);
    let mut made = MADE.lock().unwrap();
    made[place].get_or_insert_with(|| TestRelease::new(version)).clone()
}
