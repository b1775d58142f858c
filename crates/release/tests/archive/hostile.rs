//! Archives crafted by an attacker.

use std::io::{self, Read};

use release::{Flaw, Limits, scan};
use wire::v1::releases::Verdict::{Fail, Pass, Unknown};

use super::kit::{Tar, edit_header, expect, good, good_toml, scan_of, squashfs};

#[track_caller]
fn shape_fails(archive: &[u8], says: &str) {
    expect(archive, "archive-shape", Fail, says);
}

#[test]
fn path_traversal_in_an_archive() {
    for name in ["../x", "/etc/passwd", "a/../../x", "a//b", "..", "a/./b", "a\\b"] {
        expect(&Tar::good().file(name, b"x").end(), "paths-safe", Fail, "");
    }
    for name in [&b"\xff\xfe"[..], b"a\nb", b"a\x1b[31m"] {
        expect(&Tar::good().member(name, b'0', b"x").end(), "paths-safe", Fail, "");
    }
}

#[test]
fn symlink_and_device_nodes_in_an_archive() {
    for (kind, says) in [
        (b'1', "hard link"),
        (b'2', "symbolic link"),
        (b'3', "device"),
        (b'4', "device"),
        (b'6', "named pipe"),
        (b'7', "not read here"),
        (b'S', "sparse"),
        (b'V', "volume label"),
        (b'M', "another volume"),
        (b'D', "incremental backup"),
        (b'A', "not read here"),
    ] {
        shape_fails(&Tar::good().member(b"extra", kind, b"").end(), says);
        // In the payload's own place too: it is then no payload.
        let archive = Tar::of(&good_toml()).member(b"payloads/rootfs.img", kind, b"").end();
        shape_fails(&archive, says);
        expect(&archive, "digests", Unknown, "rootfs");
    }
    shape_fails(&Tar::good().member(b"payloads", b'5', b"hidden").end(), "folder with content");
}

#[test]
fn members_that_do_not_belong() {
    shape_fails(&Tar::good().file("extra", b"x").end(), "not listed in release.toml");
    shape_fails(&Tar::good().member(b"empty-folder/", b'5', b"").end(), "not listed in release.toml");
    shape_fails(&Tar::good().file("payloads/rootfs.img", b"x").end(), " twice");
    shape_fails(&Tar::good().file("./payloads/rootfs.img", b"x").end(), " twice");
    shape_fails(&Tar::good().file("release.toml", b"x").end(), " twice");
    shape_fails(&Tar::of(&good_toml()).end(), "is not in the archive");
    let late = Tar::default().file("payloads/rootfs.img", &squashfs(9000)).file("release.toml", b"x").end();
    shape_fails(&late, "first member");
    expect(
        &Tar::default().member(b"release.toml", b'2', b"").end(),
        "manifest-schema",
        Fail,
        "does not start with release.toml",
    );
}

#[test]
fn folders_on_the_way_to_a_payload_are_in_order() {
    let archive =
        Tar::of(&good_toml()).member(b"payloads/", b'5', b"").file("payloads/rootfs.img", &squashfs(9000)).end();
    expect(&archive, "archive-shape", Pass, "");
}

#[test]
fn a_second_payload_with_the_same_name_does_not_replace_the_first() {
    let found = scan_of(&Tar::good().file("payloads/rootfs.img", &squashfs(8000)).end());
    assert_eq!(found.members.len(), 1);
    assert_eq!(found.members[0].length, 9000);
}

#[test]
fn truncation_at_every_block() {
    let whole = good();
    for end in (0..whole.len()).step_by(512).chain([1, 511, 513, whole.len() - 1]) {
        let found = scan_of(&whole[..end]);
        assert!(!found.complete && !found.flaws.is_empty(), "cut at {end}");
        assert_eq!(found.length, end as u64);
    }
    shape_fails(b"", "empty");
    shape_fails(&whole[..whole.len() - 1024], "without the two zero blocks");
    shape_fails(&whole[..whole.len() - 512], "without the two zero blocks");
}

#[test]
fn something_after_the_end() {
    let mut archive = good();
    archive.push(1);
    shape_fails(&archive, "data after its end");
    let mut second = good();
    second.extend(good());
    shape_fails(&second, "data after its end");
    let mut filled = good();
    filled.resize(filled.len().next_multiple_of(10_240), 0);
    expect(&filled, "archive-shape", Pass, "");
}

#[test]
fn endless_data() {
    // Zeros after the end, and a member that never ends: both stop at a bound.
    let found = scan(io::Cursor::new(good()).chain(io::repeat(0)), &Limits::default(), &mut |_| {}).unwrap();
    assert!(matches!(found.flaws[..], [Flaw::LongFill { .. }]), "{:?}", found.flaws);
    let limits = Limits { max_archive_bytes: 5_000_000, ..Limits::default() };
    let endless = Tar::of(&good_toml()).header(b"payloads/rootfs.img", b'0', u64::MAX).0;
    let found = scan(io::Cursor::new(endless).chain(io::repeat(7)), &limits, &mut |_| {}).unwrap();
    assert!(matches!(found.flaws[..], [Flaw::TooLong { limit: 5_000_000 }]), "{:?}", found.flaws);
}

#[test]
fn manifest_bomb() {
    // Length, nesting, and a promise of a manifest that is never sent.
    let long = format!("format = 1\n# {}\n", "x".repeat(256 * 1024));
    expect(&Tar::of(&long).end(), "manifest-schema", Fail, "the limit is 262144");
    let nested = format!("format = 1\nx = {}{}\n", "[".repeat(50_000), "]".repeat(50_000));
    expect(&Tar::of(&nested).end(), "manifest-schema", Fail, "release.toml, line");
    let promised = Tar::default().header(b"release.toml", b'0', 200 * 1024).0;
    expect(&promised, "manifest-schema", Unknown, "damaged before its manifest");
}

#[test]
fn too_many_members() {
    let mut tar = Tar::good();
    for i in 0..1_000 {
        tar = tar.file(&format!("f{i}"), b"");
    }
    let found = scan_of(&tar.end());
    assert!(found.flaws.contains(&Flaw::TooManyMembers { limit: 1_000 }));
    assert!(found.flaws.len() <= 52, "flaws are bounded too: {}", found.flaws.len());
}

#[test]
fn sizes_and_checksums_that_lie() {
    let mut flipped = good();
    flipped[0] ^= 1;
    shape_fails(&flipped, "checksum");
    let second = 512 + good_toml().len().next_multiple_of(512);
    for size in [
        &b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..],
        b"\x80\0\0\x01\0\0\0\0\0\0\0\0",
        b"-0000000001\0",
        b"+0000000001\0",
        b"            ",
    ] {
        let mut archive = good();
        edit_header(&mut archive, second, |h| h[124..136].copy_from_slice(size));
        shape_fails(&archive, "its size cannot be read");
    }
    let mut huge = good();
    edit_header(&mut huge, second, |h| h[124..136].copy_from_slice(b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"));
    shape_fails(&huge, "in the middle of \"payloads/rootfs.img\"");
}

#[test]
fn extension_records_are_bounded_and_unambiguous() {
    let name = "payloads/".to_owned() + &"x".repeat(200);
    let manifest = good_toml().replace("payloads/rootfs.img", &name);
    let image = squashfs(9000);
    let long_name = [name.as_bytes(), b"\0"].concat();
    let gnu = Tar::of(&manifest).member(b"././@LongLink", b'L', &long_name).file("cut", &image).end();
    expect(&gnu, "archive-shape", Pass, "");
    let record = format!("{} path={name}\n", name.len() + 10);
    let pax = Tar::of(&manifest).member(b"PaxHeaders/x", b'x', record.as_bytes()).file("cut", &image).end();
    expect(&pax, "archive-shape", Pass, "");

    let both = Tar::of(&manifest)
        .member(b"././@LongLink", b'L', &long_name)
        .member(b"PaxHeaders/x", b'x', record.as_bytes())
        .file("cut", &image)
        .end();
    shape_fails(&both, "second name");
    let sizes = Tar::good().member(b"p", b'x', b"10 size=6\n").file("extra", b"x").end();
    shape_fails(&sizes, "another size");
    let global = Tar::good().member(b"p", b'g', b"10 path=a\n").file("extra", b"x").end();
    shape_fails(&global, "every member");
    shape_fails(&Tar::good().member(b"p", b'x', b"10 path=a\n").end(), "belongs to no member");
    let bomb = Tar::good().header(b"././@LongLink", b'L', 1 << 40).0;
    shape_fails(&bomb, "the limit is 65536");
    let traversal = Tar::good().member(b"p", b'x', b"14 path=../xx\n").file("innocent", b"x").end();
    expect(&traversal, "paths-safe", Fail, "../xx");
}

#[test]
fn a_failing_reader_is_an_error_and_no_verdict() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("disk"))
        }
    }
    let reader = io::Cursor::new(good()).take(3000).chain(Broken);
    assert_eq!(scan(reader, &Limits::default(), &mut |_| {}).unwrap_err().to_string(), "disk");
}
