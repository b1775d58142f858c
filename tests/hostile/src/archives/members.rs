//! Members that lead elsewhere, are no files, or do not belong.

use crate::case::Hostile;
use crate::tar::IMAGE;
use crate::tar::{Tar, good_manifest, squashfs};

use super::archive::archive;

pub(super) fn all() -> Vec<Hostile> {
    let extra = |name: &[u8]| Tar::good().member(name, b'0', b"x").end();
    let kind = |kind: u8| Tar::good().member(b"extra", kind, b"").end();
    let instead = |kind: u8| Tar::of(&good_manifest()).member(IMAGE.as_bytes(), kind, b"").end();
    let prefixed = Tar::good().file("passwd", b"x");
    let at = Tar::good().len();
    let mut link = Tar::good().header(b"link", b'2', 0);
    link = link.edit(at, |h| h[157..168].copy_from_slice(b"/etc/passwd"));
    vec![
        archive("traversal", "path-component", extra(b"../../etc/passwd")),
        archive("traversal-in-the-middle", "path-component", extra(b"payloads/../../x")),
        archive("traversal-at-the-end", "path-component", extra(b"payloads/..")),
        archive("dot-in-the-middle", "path-component", extra(b"payloads/./rootfs.img")),
        archive("two-slashes", "path-component", extra(b"payloads//rootfs.img")),
        archive("absolute", "path-absolute", extra(b"/etc/passwd")),
        archive("absolute-after-a-dot", "path-absolute", extra(b".//etc/passwd")),
        archive(
            "absolute-by-the-prefix",
            "path-absolute",
            prefixed.edit(at, |h| h[345..349].copy_from_slice(b"/etc")).end(),
        ),
        archive("no-name", "path-empty", extra(b"")),
        archive("backslashes", "path-character", extra(b"..\\..\\x")),
        archive("escape-sequence-in-a-name", "path-character", extra(b"a\x1b[2Jb")),
        archive("line-end-in-a-name", "path-character", extra(b"a\nrootfs.img")),
        archive("text-turned-round-in-a-name", "path-character", extra("a\u{202e}gmi.b".as_bytes())),
        archive("invisible-character-in-a-name", "path-character", extra("payloads/root\u{200b}fs.img".as_bytes())),
        archive("name-not-utf8", "path-not-utf8", extra(b"\xff\xfe\xfd")),
        archive("name-in-overlong-utf8", "path-not-utf8", extra(b"\xc0\xae\xc0\xae/x")),
        archive("second-name-behind-a-zero", "header-name", extra(b"payloads/x\0../../etc/passwd")),
        archive("symbolic-link", "member-symbolic-link", link.end()),
        archive("symbolic-link-for-the-payload", "member-symbolic-link", instead(b'2')),
        archive("hard-link", "member-hard-link", kind(b'1')),
        archive("hard-link-for-the-payload", "member-hard-link", instead(b'1')),
        archive("character-device", "member-device", kind(b'3')),
        archive("block-device", "member-device", kind(b'4')),
        archive("named-pipe", "member-named-pipe", kind(b'6')),
        archive("sparse-file", "member-sparse", kind(b'S')),
        archive("contiguous-file", "member-kind", kind(b'7')),
        archive("volume-label", "member-volume-label", kind(b'V')),
        archive("kind-of-the-future", "member-kind", kind(0xee)),
        archive("folder-with-content", "member-folder-content", Tar::good().member(b"payloads", b'5', b"hidden").end()),
        archive("link-for-the-manifest", "manifest-not-first", Tar::default().member(b"release.toml", b'2', b"").end()),
        archive("member-that-nobody-named", "member-unknown", extra(b"extra")),
        archive("folder-that-nobody-named", "member-unknown", Tar::good().member(b"extra/", b'5', b"").end()),
        archive("member-in-other-case", "member-unknown", extra(b"Payloads/Rootfs.img")),
        archive("payload-twice", "member-duplicate", Tar::good().file(IMAGE, &squashfs(9000)).end()),
        archive("payload-twice-in-two-spellings", "member-duplicate", extra(b"./payloads/rootfs.img")),
        archive(
            "manifest-twice",
            "member-duplicate",
            Tar::good().file("release.toml", good_manifest().as_bytes()).end(),
        ),
        archive(
            "file-and-folder-of-one-name",
            "member-duplicate",
            Tar::good().member(b"payloads/rootfs.img/", b'5', b"").end(),
        ),
        archive(
            "too-many-members",
            "archive-too-many-members",
            (0..1000).fold(Tar::good(), |tar, i| tar.file(&format!("f{i}"), b"")).end(),
        ),
    ]
}
