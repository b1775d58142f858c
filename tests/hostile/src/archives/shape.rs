//! The tar itself: cut, prolonged, packed in something else, with headers that lie.

use crate::case::Hostile;
use crate::tar::IMAGE;
use crate::tar::{Tar, good_archive, good_manifest, squashfs};

use super::archive::archive;

pub(super) fn all() -> Vec<Hostile> {
    let good = good_archive();
    let image_header = Tar::of(&good_manifest()).len();
    let size = |field: &'static [u8]| Tar(good.clone()).edit(image_header, |h| h[124..136].copy_from_slice(field)).0;
    let mut sum = good.clone();
    sum[0] ^= 1;
    let mut later_sum = good.clone();
    later_sum[image_header + 3] ^= 1;
    let mut garbage = good.clone();
    garbage.extend(b"#!/bin/sh\n");
    let mut filled = good.clone();
    filled.resize(good.len() + (1 << 20) + 4096, 0);
    let cut = |at: usize| good[..at].to_vec();
    let mut text = b"BEGIN".to_vec();
    text.resize(2048, b'x');
    vec![
        archive("nothing", "archive-empty", []),
        archive("one-byte", "archive-truncated", [1]),
        archive("cut-in-the-first-header", "archive-truncated", cut(300)),
        archive("cut-after-the-first-header", "archive-truncated", cut(512)),
        archive("cut-in-the-manifest", "archive-truncated", cut(600)),
        archive("cut-in-the-manifests-filling", "archive-truncated", cut(image_header - 1)),
        archive("cut-in-the-second-header", "archive-truncated", cut(image_header + 100)),
        archive("cut-in-the-payload", "archive-truncated", cut(image_header + 5000)),
        archive("cut-in-the-payloads-filling", "archive-truncated", cut(good.len() - 1025)),
        archive("cut-before-the-payload", "archive-no-end", cut(image_header)),
        archive("no-end-mark", "archive-no-end", cut(good.len() - 1024)),
        archive("half-an-end-mark", "archive-no-end", cut(good.len() - 512)),
        archive("end-mark-cut-in-its-middle", "archive-no-end", cut(good.len() - 1)),
        archive("only-an-end-mark", "manifest-missing", [0; 1024]),
        archive("garbage-behind-the-end", "archive-trailing-data", garbage),
        archive("second-archive-behind-the-end", "archive-trailing-data", [good.clone(), good.clone()].concat()),
        archive("a-megabyte-of-zeros-behind-the-end", "archive-long-fill", filled),
        archive("checksum-of-the-first-header", "header-checksum", sum),
        archive("checksum-of-a-later-header", "header-checksum", later_sum),
        archive("plain-text", "header-checksum", text),
        archive("gzip", "archive-compressed", packed(b"\x1f\x8b\x08\0")),
        archive("xz", "archive-compressed", packed(b"\xfd7zXZ\0")),
        archive("zip", "archive-compressed", packed(b"PK\x03\x04")),
        archive("zstd", "archive-compressed", packed(b"\x28\xb5\x2f\xfd")),
        archive("size-negative-in-base-256", "header-size", size(&[0xff; 12])),
        archive("size-beyond-64-bits", "header-size", size(b"\x80\0\0\x01\0\0\0\0\0\0\0\0")),
        archive("size-of-exabytes", "archive-truncated", size(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff")),
        archive("size-of-all-64-bits", "archive-truncated", size(b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff")),
        archive("size-with-a-minus", "header-size", size(b"-0000000001\0")),
        archive("size-in-no-octal", "header-size", size(b"00000000089\0")),
        archive("size-with-junk-behind-it", "header-size", size(b"21450\x001234\0\0")),
        archive("size-of-blanks", "header-size", size(b"            ")),
        archive("size-too-small", "header-checksum", size(b"00000001000\0")),
        archive("size-too-large", "archive-truncated", size(b"00000777777\0")),
        archive(
            "size-one-too-small",
            "payload-length",
            Tar::of(&good_manifest()).header(IMAGE.as_bytes(), b'0', 8999).body(&squashfs(9000)).end(),
        ),
        archive("manifest-not-first", "manifest-not-first", late()),
        archive("manifest-not-there", "manifest-not-first", Tar::default().file(IMAGE, &squashfs(9000)).end()),
        archive("payload-not-there", "member-missing", Tar::of(&good_manifest()).end()),
    ]
}

fn late() -> Vec<u8> {
    Tar::default().file(IMAGE, &squashfs(9000)).file("release.toml", good_manifest().as_bytes()).end()
}

/// What begins so and goes on like something compressed.
fn packed(magic: &[u8]) -> Vec<u8> {
    let noise = (0u32..4096).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8);
    magic.iter().copied().chain(noise).collect()
}
