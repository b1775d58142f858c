//! Small update archives with a real superblock in front, and releases put straight into the database.

use std::path::{Path, PathBuf};

use fleet_types::{Digest, InfoHash};
use service_kit::database::{Pool, connection};
use uuid::Uuid;
use wire::v1::plan::ArtifactRef;

/// What to pack.
pub struct Recipe<'a> {
    pub product: &'a str,
    pub version: &'a str,
    pub model: &'a str,
    pub notes: &'a str,
    /// What must be installed; empty for nothing.
    pub requires: &'a str,
    /// Length of the image.
    pub length: usize,
    pub image_is_sound: bool,
    /// Bits of each byte that vary: fewer compress better, and more slowly.
    pub bits: u8,
}

impl Default for Recipe<'_> {
    fn default() -> Self {
        Self {
            product: "kiosk",
            version: "1.0.0",
            model: "kiosk-x86",
            notes: "First.",
            requires: "",
            length: 300_000,
            image_is_sound: true,
            bits: 0xff,
        }
    }
}

/// Bytes that zstd cannot make much smaller, the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut x = seed | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    (0..length.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(length).collect()
}

/// An image that begins with a squashfs superblock of its own length.
pub fn image(length: usize, sound: bool, bits: u8) -> Vec<u8> {
    let mut image = noise(length, length as u64);
    image.iter_mut().for_each(|b| *b &= bits);
    image[..4].copy_from_slice(if sound { b"hsqs" } else { b"nope" });
    image[28..30].copy_from_slice(&4u16.to_le_bytes());
    image[40..48].copy_from_slice(&(length as u64).to_le_bytes());
    image
}

/// Packs an archive in `dir`.
pub fn pack(dir: &Path, recipe: &Recipe<'_>) -> PathBuf {
    let Recipe { product, version, model, notes, requires, length, image_is_sound, bits } = *recipe;
    let source = dir.join(format!("{product}-{version}"));
    std::fs::create_dir_all(source.join("payloads")).unwrap();
    std::fs::write(source.join("payloads/rootfs.img"), image(length, image_is_sound, bits)).unwrap();
    let requires = if requires.is_empty() { String::new() } else { format!("requires = \"{requires}\"\n") };
    let manifest = format!(
        "format = 1\nproduct = \"{product}\"\nversion = \"{version}\"\nnotes = \"{notes}\"\n{requires}\n[[payload]]\n\
         name = \"rootfs\"\nkind = \"slot-image\"\ncompatible = [\"{model}\"]\nfile = \"payloads/rootfs.img\"\n"
    );
    std::fs::write(source.join("release.toml"), manifest).unwrap();
    let out = dir.join(format!("{product}-{version}.upd"));
    release::pack(&source, &out, &mut |_, _| {}).unwrap();
    out
}

/// A published release with one image, straight in the database; nothing of it lies in the store.
pub async fn insert_published(pool: &Pool, product: &str, version: &str, model: &str) -> ArtifactRef {
    insert_published_as(pool, product, version, model, ("rootfs", "slot-image")).await
}

/// The same with one payload of this name and kind.
pub async fn insert_published_as(
    pool: &Pool,
    product: &str,
    version: &str,
    model: &str,
    (name, kind): (&str, &str),
) -> ArtifactRef {
    let digest = |text: &str| service_kit::token::hash(&format!("{product} {version} {text}"));
    let hash: [u8; 20] = digest("hash").as_bytes()[..20].try_into().unwrap();
    let artifact = ArtifactRef {
        sha256: digest("artifact"),
        length: 1000,
        index_sha256: digest("index"),
        index_length: 100,
        info_hash: InfoHash::new(hash),
    };
    let (id, now) = (Uuid::new_v4(), super::begin());
    let client = connection(pool).await.unwrap();
    let manifest: Digest = digest("manifest");
    let sql = "INSERT INTO releases (id, state, file_name, archive_bytes, product, version, manifest, manifest_sha256,
        created_by, created_at, changed_at, touched_at, published_at)
        VALUES ($1, 'published', 'a.upd', 1, $2, $3, $4, $5, 'test', $6, $6, $6, $6)";
    let text = format!(
        "format = 1\nproduct = \"{product}\"\nversion = \"{version}\"\nnotes = \"First.\"\n[[payload]]\nname = \"{name}\"\n\
         kind = \"{kind}\"\ncompatible = [\"{model}\"]\nfile = \"payloads/rootfs.img\"\nsize = 300000\nsha256 = \"{}\"\n",
        digest("payload")
    );
    let text = text.as_bytes();
    client.execute(sql, &[&id, &product, &version, &text, &manifest.to_string(), &now]).await.unwrap();
    let sql = "INSERT INTO artifacts (sha256, length, index_sha256, index_length, info_hash, torrent, payload_sha256,
        created_at) VALUES ($1, $2, $3, $4, $5, '', $6, $7) ON CONFLICT (sha256) DO NOTHING";
    let (sha256, payload) = (artifact.sha256.to_string(), digest("payload").to_string());
    let (index, hash) = (artifact.index_sha256.to_string(), artifact.info_hash.to_string());
    client.execute(sql, &[&sha256, &1000i64, &index, &100i64, &hash, &payload, &now]).await.unwrap();
    let sql = "INSERT INTO payloads (release_id, position, name, kind, compatible, archive_offset, length, sha256,
        artifact_sha256) VALUES ($1, 0, $5, $6, $2, 512, 300000, $3, $4)";
    client.execute(sql, &[&id, &vec![model], &payload, &sha256, &name, &kind]).await.unwrap();
    artifact
}
