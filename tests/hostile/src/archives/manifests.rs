//! Manifests and payloads: whole tars whose content is not what it should be.

use crate::case::Hostile;
use crate::tar::{IMAGE, MODEL};
use crate::tar::{Tar, good_manifest, manifest_of, squashfs};

use super::archive::archive;

pub(super) fn all() -> Vec<Hostile> {
    [texts(), contradictions(), images()].concat()
}

/// The good archive with another manifest.
fn with(manifest: &str) -> Vec<u8> {
    Tar::of(manifest).file(IMAGE, &squashfs(9000)).end()
}

/// The good manifest with one part replaced, which must be there.
fn replaced(from: &str, to: &str) -> Vec<u8> {
    let good = good_manifest();
    assert!(good.contains(from), "the good manifest has no {from:?}");
    with(&good.replacen(from, to, 1))
}

fn texts() -> Vec<Hostile> {
    let good = good_manifest();
    let before = |line: &str| with(&format!("{line}\n{good}"));
    let many_keys: String = (0..20_000).map(|i| format!("k{i}=0\n")).collect();
    let many_tables: String = (0..12_000).map(|i| format!("[a.b.c.t{i}]\n")).collect();
    let mut not_utf8 = good.clone().into_bytes();
    not_utf8.extend(b"# \xff\n");
    vec![
        archive("manifest-empty", "manifest-schema", with("")),
        archive("manifest-too-long", "manifest-too-long", with(&format!("{good}#{}\n", "x".repeat(300_000)))),
        archive(
            "manifest-not-utf8",
            "manifest-not-utf8",
            Tar::default().member(b"release.toml", b'0', &not_utf8).file(IMAGE, &squashfs(9000)).end(),
        ),
        archive("manifest-no-toml", "manifest-not-toml", with("{\"format\": 1}")),
        archive(
            "manifest-arrays-in-arrays",
            "manifest-not-toml",
            before(&format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000))),
        ),
        archive("manifest-arrays-never-closed", "manifest-not-toml", before(&format!("x = {}", "[".repeat(200_000)))),
        archive(
            "manifest-tables-in-tables",
            "manifest-not-toml",
            before(&format!("x = {}{}", "{a=".repeat(60_000), "}".repeat(60_000))),
        ),
        archive("manifest-key-of-many-parts", "manifest-not-toml", before(&format!("{}a = 1", "a.".repeat(100_000)))),
        archive("manifest-huge-array", "manifest-schema", before(&format!("x = [{}]", "0,".repeat(120_000)))),
        archive("manifest-many-keys", "manifest-schema", before(&many_keys)),
        archive("manifest-many-tables", "manifest-schema", with(&format!("{good}{many_tables}"))),
        archive("manifest-key-twice", "manifest-not-toml", before("format = 1")),
        archive("manifest-unknown-key", "manifest-schema", before("run_as_root = true")),
        archive("manifest-unknown-key-of-a-payload", "manifest-schema", with(&format!("{good}mode = 0o4755\n"))),
        archive("manifest-of-the-future", "manifest-format", replaced("format = 1", "format = 2")),
        archive("manifest-format-as-text", "manifest-schema", replaced("format = 1", "format = \"1\"")),
        archive("manifest-format-negative", "manifest-format", replaced("format = 1", "format = -1")),
        archive(
            "manifest-format-beyond-64-bits",
            "manifest-not-toml",
            replaced("format = 1", "format = 99999999999999999999"),
        ),
        archive("version-overflows", "manifest-schema", replaced("1.0.0", "99999999999999999999.0.0")),
        archive(
            "version-of-a-megabyte",
            "manifest-schema",
            replaced("1.0.0", &format!("1.0.0-{}", "a".repeat(100_000))),
        ),
        archive("version-as-a-number", "manifest-schema", replaced("\"1.0.0\"", "1.0")),
        archive("product-leads-out", "manifest-schema", replaced("\"kiosk\"", "\"../kiosk\"")),
        archive("product-in-capitals", "manifest-schema", replaced("\"kiosk\"", "\"KIOSK\"")),
        archive("product-too-long", "manifest-schema", replaced("\"kiosk\"", &format!("\"{}\"", "k".repeat(33)))),
        archive("model-with-a-blank", "manifest-schema", replaced(MODEL, "kiosk x86")),
        archive("kind-unknown", "manifest-schema", replaced("slot-image", "boot-sector")),
        archive("size-negative", "manifest-schema", replaced("size = 9000", "size = -9000")),
        archive(
            "size-beyond-64-bits-in-toml",
            "manifest-not-toml",
            replaced("size = 9000", "size = 99999999999999999999"),
        ),
        archive("digest-too-short", "manifest-schema", replaced("sha256 = \"", "sha256 = \"00\" # \"")),
        archive("notes-too-long", "notes-too-long", replaced("First.", &"x".repeat(20_001))),
        archive("notes-that-command-a-terminal", "notes-control", replaced("First.", "\\u001b]0;owned\\u0007")),
    ]
}

fn contradictions() -> Vec<Hostile> {
    let good = good_manifest();
    let payload = good.split_once("[[payload]]").map_or("", |(_, rest)| rest);
    let second = |from: &str, to: &str| format!("{good}\n[[payload]]{}", payload.replacen(from, to, 1));
    let renamed = second("\"rootfs\"", "\"second\"").replacen("slot-image", "component-tree", 2);
    let many: String = (0..65).map(|i| format!("[[payload]]{}", payload.replace("rootfs", &format!("p{i}")))).collect();
    let models: Vec<String> = (0..257).map(|i| format!("\"m{i}\"")).collect();
    let head = good.split_once("[[payload]]").map_or("", |(head, _)| head);
    vec![
        archive("no-payload", "payload-count", with(head)),
        archive("payloads-too-many", "payload-count", with(&format!("{head}{many}"))),
        archive("payload-name-twice", "payload-name-twice", with(&second(IMAGE, "other.img"))),
        archive("payload-file-twice", "payload-file-twice", with(&renamed)),
        archive(
            "payload-files-that-differ-in-case",
            "payload-file-twice",
            with(&renamed.replacen(IMAGE, "Payloads/RootFS.img", 1)),
        ),
        archive("payload-file-within-a-file", "payload-file-within", with(&renamed.replacen(IMAGE, "payloads", 1))),
        archive("payload-file-leads-out", "path-component", replaced(IMAGE, "../../etc/shadow")),
        archive("payload-file-absolute", "path-absolute", replaced(IMAGE, "/etc/shadow")),
        archive("payload-file-is-the-manifest", "payload-file-manifest", replaced(IMAGE, "release.toml")),
        archive(
            "payload-of-no-bytes",
            "payload-size-zero",
            Tar::of(&good.replace("size = 9000", "size = 0")).file(IMAGE, b"").end(),
        ),
        archive("payload-without-a-size", "payload-not-filled-in", replaced("size = 9000\n", "")),
        archive("payload-without-models", "models-missing", replaced(&format!("\"{MODEL}\""), "")),
        archive(
            "payload-with-too-many-models",
            "models-too-many",
            replaced(&format!("\"{MODEL}\""), &models.join(",")),
        ),
        archive(
            "model-in-two-images",
            "model-twice",
            with(&second("\"rootfs\"", "\"second\"").replacen(IMAGE, "other.img", 1)),
        ),
        archive("command-for-an-image", "command-misplaced", with(&format!("{good}run = [\"rm\", \"-rf\", \"/\"]\n"))),
        archive("package-without-a-command", "command-missing", replaced("slot-image", "package")),
        archive(
            "command-with-a-zero",
            "command-words",
            with(&format!("{}run = [\"a\\u0000b\"]\n", good.replace("slot-image", "package"))),
        ),
        archive(
            "payload-with-another-digest",
            "payload-digest",
            Tar::of(&good_manifest()).file(IMAGE, &changed()).end(),
        ),
        archive(
            "payload-longer-than-stated",
            "payload-length",
            Tar::of(&good_manifest()).file(IMAGE, &squashfs(9001)).end(),
        ),
        archive("payload-stated-as-exabytes", "payload-length", replaced("size = 9000", "size = 9223372036854775807")),
    ]
}

fn changed() -> Vec<u8> {
    let mut image = squashfs(9000);
    image[8000] ^= 1;
    image
}

fn images() -> Vec<Hostile> {
    let of = |image: &[u8]| Tar::of(&manifest_of(image)).file(IMAGE, image).end();
    let squash = |at: usize, bytes: &[u8]| {
        let mut image = squashfs(9000);
        image[at..at + bytes.len()].copy_from_slice(bytes);
        of(&image)
    };
    let ext4 = |blocks: u32, shift: u32, features: u32, high: u32| {
        let mut image = vec![0; 9000];
        for (at, bytes) in [(4, blocks), (24, shift), (96, features), (336, high)] {
            image[1024 + at..1028 + at].copy_from_slice(&bytes.to_le_bytes());
        }
        image[1080..1082].copy_from_slice(&[0x53, 0xef]);
        of(&image)
    };
    let erofs = |shift: u8, blocks: u32| {
        let mut image = vec![0; 9000];
        image[1024..1028].copy_from_slice(&0xE0F5_E1E2u32.to_le_bytes());
        image[1036] = shift;
        image[1060..1064].copy_from_slice(&blocks.to_le_bytes());
        of(&image)
    };
    vec![
        archive("image-of-nothing-known", "image-unknown", squash(0, b"nope")),
        archive("image-of-one-byte", "image-unknown", of(b"h")),
        archive("squashfs-of-another-version", "image-unknown", squash(28, &[5, 0])),
        archive("squashfs-longer-than-its-file", "image-length", squash(40, &9001u64.to_le_bytes())),
        archive("squashfs-of-all-64-bits", "image-length", squash(40, &[0xff; 8])),
        archive("squashfs-of-no-bytes", "image-length", squash(40, &[0; 8])),
        archive("ext4-longer-than-its-file", "image-length", ext4(1000, 2, 0, 0)),
        archive("ext4-of-an-absurd-block-size", "image-unknown", ext4(1, 31, 0, 0)),
        archive("ext4-of-an-overflowing-block-size", "image-unknown", ext4(1, u32::MAX, 0, 0)),
        archive("ext4-whose-length-overflows", "image-length", ext4(u32::MAX, 6, 0x80, u32::MAX)),
        archive("erofs-of-an-absurd-block-size", "image-unknown", erofs(63, 1)),
        archive("erofs-longer-than-its-file", "image-length", erofs(12, u32::MAX)),
    ]
}
