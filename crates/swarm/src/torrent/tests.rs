use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;

const PIECE: u32 = MIN_PIECE_LENGTH;

fn put(dir: &std::path::Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    File::create(&path).unwrap().write_all(bytes).unwrap();
    path
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length as u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).take(length).collect()
}

fn sample() -> (tempfile::TempDir, PathBuf, Created) {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path(), "a.seg", &bytes(3 * PIECE as usize + 5));
    let created = create(&path, "a.seg", Some(PIECE), &mut |_| {}).unwrap();
    (dir, path, created)
}

fn with_info(info: &str) -> Result<Torrent, TorrentError> {
    Torrent::parse(format!("d4:info{info}e").as_bytes())
}

#[test]
fn a_file_becomes_a_private_torrent_with_its_digest_in_one_pass() {
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(2 * PIECE as usize + 1);
    let path = put(dir.path(), "a", &content);
    let mut heard = Vec::new();
    let Created { torrent, sha256 } = create(&path, "a.seg", Some(PIECE), &mut |done| heard.push(done)).unwrap();
    assert_eq!(heard, [16384, 32768, 32769]);
    assert_eq!(sha256, Digest::new(Sha256::digest(&content).into()));
    assert_eq!((torrent.name(), torrent.length(), torrent.piece_count()), ("a.seg", 32769, 3));
    assert!(torrent.is_private() && !torrent.is_folder() && torrent.tiers().is_empty());
    let mut expected = b"d6:lengthi32769e4:name5:a.seg12:piece lengthi16384e6:pieces60:".to_vec();
    content.chunks(PIECE as usize).for_each(|piece| expected.extend_from_slice(&sha1(piece)));
    expected.extend_from_slice(b"7:privatei1ee");
    assert_eq!(torrent.info_hash(), InfoHash::new(sha1(&expected)));
    assert_eq!(torrent.to_file(&[]), [b"d4:info".as_slice(), &expected, b"e"].concat());
}

#[test]
fn every_tier_has_the_same_info_hash_and_only_its_own_trackers() {
    let (_dir, _, Created { torrent, .. }) = sample();
    let (wan, lan) = ("http://10.0.0.1:6969/announce", "http://192.168.1.1:6969/announce");
    let all = [wan_tiers(wan), lan_tiers(lan), branch_tiers(wan, lan)];
    for tiers in &all {
        let file = torrent.to_file(tiers);
        let read = Torrent::parse(&file).unwrap();
        assert_eq!(read.info_hash(), torrent.info_hash());
        assert_eq!(read.tiers(), tiers.as_slice());
        assert_eq!(read.to_file(tiers), file);
    }
    assert!(!String::from_utf8_lossy(&torrent.to_file(&all[1])).contains(wan));
    let both = torrent.to_file(&all[2]);
    assert!(both.starts_with(b"d8:announce29:http://10.0.0.1:6969/announce13:announce-listll29:http"));
}

#[test]
fn a_folder_becomes_one_torrent_in_order_of_names() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    for (name, length) in [("b/z", 20_000), ("a", 10), ("b-c", 1), ("b/y/x", 0)] {
        put(&root, name, &bytes(length));
    }
    let torrent = create_any(&root, "tree", Some(PIECE), &mut |_| {}).unwrap();
    let names: Vec<String> = torrent.files().iter().map(|file| file.path.join("/")).collect();
    assert_eq!(names, ["a", "b/y/x", "b/z", "b-c"]);
    assert!(torrent.is_folder());
    assert_eq!(torrent.length(), 20_011);
    assert!(torrent.verify(&root, &mut |_| {}).unwrap().is_good());
    assert_eq!(Torrent::parse(&torrent.to_file(&[])).unwrap(), torrent);

    put(&root, "b-c", b"xx");
    fs::remove_file(root.join("a")).unwrap();
    let verified = torrent.verify(&root, &mut |_| {}).unwrap();
    assert_eq!((verified.good, verified.bad.as_slice()), (0, [0, 1].as_slice()));
    assert_eq!(verified.too_long, [root.join("b-c")]);

    std::os::unix::fs::symlink("/etc/passwd", root.join("link")).unwrap();
    assert!(matches!(create_any(&root, "tree", None, &mut |_| {}), Err(TorrentError::Kind { .. })));
}

#[test]
fn verifying_names_the_pieces_that_are_wrong_short_or_missing() {
    let (dir, path, Created { torrent, .. }) = sample();
    let mut content = bytes(3 * PIECE as usize + 5);
    assert!(torrent.verify(&path, &mut |_| {}).unwrap().is_good());
    content[PIECE as usize] ^= 1;
    put(dir.path(), "a.seg", &content);
    assert_eq!(torrent.verify(&path, &mut |_| {}).unwrap(), Verified { good: 3, bad: vec![1], too_long: vec![] });
    put(dir.path(), "a.seg", &content[..2 * PIECE as usize + 9]);
    let mut last = 0;
    let short = torrent.verify(&path, &mut |done| last = done).unwrap();
    assert_eq!((short.bad, last), (vec![1, 2, 3], torrent.length()));
    fs::remove_file(&path).unwrap();
    assert_eq!(torrent.verify(&path, &mut |_| {}).unwrap().bad, [0, 1, 2, 3]);
}

#[test]
fn what_cannot_be_a_torrent_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, full) = (put(dir.path(), "empty", b""), put(dir.path(), "full", b"x"));
    let make = |path: &std::path::Path, name: &str, piece| create(path, name, piece, &mut |_| {});
    assert!(matches!(make(&empty, "a", None), Err(TorrentError::Empty { .. })));
    assert!(matches!(make(dir.path(), "a", None), Err(TorrentError::Kind { .. })));
    assert!(matches!(make(&dir.path().join("none"), "a", None), Err(TorrentError::Read { .. })));
    for name in ["", ".", "..", "a/b", "a\0", &"x".repeat(256)] {
        assert!(matches!(make(&full, name, None), Err(TorrentError::Name { .. })), "{name:?}");
    }
    for piece in [0, 3 * PIECE, PIECE / 2, 2 * MAX_PIECE_LENGTH] {
        assert!(matches!(make(&full, "a", Some(piece)), Err(TorrentError::PieceLength(_))), "{piece}");
    }
    let huge = dir.path().join("huge");
    File::create(&huge).unwrap().set_len(1 << 43).unwrap();
    assert!(matches!(make(&huge, "a", Some(PIECE)), Err(TorrentError::TooLarge { .. })));
}

#[test]
fn hostile_torrents_are_refused() {
    let pieces = format!("6:pieces20:{}", "x".repeat(20));
    let files = |files: &str| format!("d5:filesl{files}e4:name1:n12:piece lengthi16384e{pieces}e");
    let good = files("d6:lengthi1e4:pathl1:aee");
    assert!(with_info(&good).is_ok());
    let refused = [
        "i0e".to_owned(),
        "de".to_owned(),
        good.replace("l1:ae", "l2:..e"),
        good.replace("l1:ae", "l3:a/be"),
        good.replace("l1:ae", "le"),
        good.replace("4:name1:n", "4:name1:/"),
        good.replace("4:name1:n", "4:name0:"),
        good.replace("4:name1:n", "4:name1:\u{7f}").replace('\u{7f}', "\0"),
        good.replace("i1e4", "i-1e4"),
        good.replace("i1e4", "i0e4"),
        good.replace("i1e4", "i9223372036854775807e4"),
        good.replace("i16384e", "i0e"),
        good.replace("i16384e", "i16383e"),
        good.replace("i16384e", "i1073741824e"),
        good.replace("20:x", "21:xx"),
        good.replace("d5:files", "d5:filesle6:lengthi1e5:files"),
        files("d6:lengthi1e4:pathl1:aeed6:lengthi1e4:pathl1:aee"),
        files("d6:lengthi1e4:pathl1:aeed6:lengthi1e4:pathl1:a1:bee"),
        format!("d6:lengthi9223372036854775807e12:meta versioni2e4:name1:n12:piece lengthi16384e{pieces}e"),
        format!("d6:lengthi1e12:meta versioni3e4:name1:n12:piece lengthi16384e{pieces}e"),
    ];
    for info in refused {
        assert!(with_info(&info).is_err(), "{info}");
    }
    assert!(matches!(Torrent::parse(&vec![b'0'; MAX_TORRENT_LEN + 1]), Err(TorrentError::TooLarge { .. })));
    let many = format!("d13:announce-listl{}e4:info{good}e", "l1:ae".repeat(65));
    assert!(Torrent::parse(many.as_bytes()).is_err());
}

/// A hybrid of three files, made by libtorrent 2.1.1 with pieces of 16 KiB.
const HYBRID: &str = "\
    ZDg6YW5ub3VuY2UxNzpodHRwOi8vdC9hbm5vdW5jZTQ6aW5mb2Q5OmZpbGUgdHJlZWQxOmFkMDpkNjpsZW5ndGhpMjAwMDBlMTE6\
    cGllY2VzIHJvb3QzMjoNmn155iXyqjFlNGPkERBB2zPJ1p8w0j2SCyk2yETJFmVlMTpiZDA6ZDY6bGVuZ3RoaTIwMDAwZTExOnBp\
    ZWNlcyByb290MzI6t20CZMeO9Eb3RAOdoYhXAlH3Zw/FK6VeTTzQXIOZFv1lZTE6Y2QwOmQ2Omxlbmd0aGkxZTExOnBpZWNlcyBy\
    b290MzI6Ln0sA6lQeuJl7PW1NWiFpTOTogKdJBOUmXJloaJa78ZlZWU1OmZpbGVzbGQ2Omxlbmd0aGkyMDAwMGU0OnBhdGhsMTph\
    ZWVkNDphdHRyMTpwNjpsZW5ndGhpMTI3NjhlNDpwYXRobDQ6LnBhZDU6MTI3NjhlZWQ2Omxlbmd0aGkyMDAwMGU0OnBhdGhsMTpi\
    ZWVkNDphdHRyMTpwNjpsZW5ndGhpMTI3NjhlNDpwYXRobDQ6LnBhZDU6MTI3NjhlZWQ2Omxlbmd0aGkxZTQ6cGF0aGwxOmNlZWQ0\
    OmF0dHIxOnA2Omxlbmd0aGkxNjM4M2U0OnBhdGhsNDoucGFkNToxNjM4M2VlZTEyOm1ldGEgdmVyc2lvbmkyZTQ6bmFtZTE6bjEy\
    OnBpZWNlIGxlbmd0aGkxNjM4NGU2OnBpZWNlczEwMDpo87gaEd4eFinoFVW05wrtlV0RQIZkeqs4GaT+znwRWvxcw5eHPHvLGjj3\
    ZG4Ea4mUSGhgFqvyxjcEGR4yS5KT2fWecFje9qiP4f6uslTYuwKoDLMEIBBhtmFagfuk468/iVuWZTEyOnBpZWNlIGxheWVyc2Qz\
    MjoNmn155iXyqjFlNGPkERBB2zPJ1p8w0j2SCyk2yETJFjY0OkNI47mOijJ7NM7TnB2p5nzbTNXkjk15YGB6OuQD018MARzH9eVM\
    xHk7Ac0XjpZuex6W/AMWvDGh48dTWVCPkRQzMjq3bQJkx470RvdEA52hiFcCUfdnD8UrpV5NPNBcg5kW/TY0Oilr/M11hHyQjxsN\
    jSubLJxfTM5WAVCRtTEy9/H1FnhGHcpc1Ao5Sz41KnpZO2khrKYCbJExfBeY8u5BLwXKJW1lZQ==";

#[test]
fn of_a_hybrid_torrent_the_first_version_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = STANDARD.decode(HYBRID).unwrap();
    let torrent = Torrent::parse(&file).unwrap();
    // As libtorrent says.
    assert_eq!(torrent.info_hash().to_string(), "db1ee1544765488d0c4689a2bec8741e94c2f9e5");
    let files: Vec<_> = torrent.files().iter().map(|f| (f.path.join("/"), f.length, f.padding)).collect();
    let padding = |length: u64| (format!(".pad/{length}"), length, true);
    let ours = |name: &str, length: u64| (name.to_owned(), length, false);
    let expected =
        [ours("a", 20_000), padding(12_768), ours("b", 20_000), padding(12_768), ours("c", 1), padding(16_383)];
    assert_eq!(files, expected);

    let counted = |modulus: u32| (0..20_000u32).map(|i| (i % modulus) as u8).collect::<Vec<u8>>();
    put(dir.path(), "n/a", &counted(251));
    put(dir.path(), "n/b", &counted(241));
    put(dir.path(), "n/c", b"c");
    let verified = torrent.verify(&dir.path().join("n"), &mut |_| {}).unwrap();
    assert_eq!((verified.good, verified.is_good()), (5, true), "padding is zeros, and on no disk: {verified:?}");
    put(dir.path(), "n/b", &counted(239));
    assert_eq!(torrent.verify(&dir.path().join("n"), &mut |_| {}).unwrap().bad, [2, 3]);
}

#[test]
fn version_two_alone_is_refused_with_a_remedy() {
    let tree = format!("d1:ad0:d6:lengthi1e11:pieces root32:{}eee", "x".repeat(32));
    let info = format!("d9:file tree{tree}12:meta versioni2e4:name1:n12:piece lengthi16384ee");
    let error = with_info(&info).unwrap_err();
    assert_eq!(error.code(), "torrent-version-2");
    assert!(error.to_string().contains("hybrid"), "{error}");
}

#[test]
fn files_that_only_claim_to_be_padding_stay_within_the_folder() {
    let pieces = format!("6:pieces20:{}", "x".repeat(20));
    let hostile = format!(
        "d5:filesld4:attr1:p6:lengthi1e4:pathl2:..1:xeee12:meta versioni2e4:name1:n12:piece lengthi16384e{pieces}e"
    );
    assert!(matches!(with_info(&hostile), Err(TorrentError::Name { .. })));
}

#[test]
fn padding_is_shorter_than_a_piece_and_never_follows_padding() {
    let parsed = |paddings: &[u32]| {
        let one = |length: &u32| format!("d4:attr1:p6:lengthi{length}e4:pathl1:{}ee", length % 10);
        let files: String = paddings.iter().map(one).collect();
        let length: u32 = paddings.iter().sum::<u32>() + 1;
        let pieces = length.div_ceil(16_384) as usize;
        let hashes = format!("6:pieces{}:{}", pieces * 20, "x".repeat(pieces * 20));
        with_info(&format!("d5:filesld6:lengthi1e4:pathl1:aee{files}e4:name1:n12:piece lengthi16384e{hashes}e"))
    };
    assert!(parsed(&[16_383]).is_ok());
    for paddings in [&[16_384][..], &[100, 101], &[4_194_304]] {
        assert_eq!(parsed(paddings).unwrap_err().code(), "torrent-padding", "{paddings:?}");
    }
}

#[test]
fn the_info_hash_is_over_the_bytes_as_they_stand_with_keys_we_do_not_know() {
    let pieces = format!("6:pieces20:{}", "x".repeat(20));
    let info = format!("d6:lengthi5e4:name1:n12:piece lengthi16384e{pieces}6:source3:us!e");
    let torrent = with_info(&info).unwrap();
    assert_eq!(torrent.info_hash(), InfoHash::new(sha1(info.as_bytes())));
    assert!(!torrent.is_private());
    assert_eq!(torrent.to_file(&[]), format!("d4:info{info}e").into_bytes());
}

#[test]
fn piece_lengths_follow_the_content() {
    for (length, kib) in [
        (1, 256),
        (128 * MIB - 1, 256),
        (128 * MIB, 512),
        (512 * MIB, 1024),
        (8192 * MIB, 1024),
        (8192 * MIB + 1, 2048),
        (1 << 50, 4096),
    ] {
        assert_eq!(piece_length_for(length), kib * KIB, "{length}");
    }
}

proptest! {
    #[test]
    fn a_mutated_torrent_never_panics_and_never_keeps_a_changed_info_under_its_hash(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..6),
    ) {
        let pieces = format!("6:pieces40:{}", "x".repeat(40));
        let info = format!(
            "d5:filesld6:lengthi16384e4:pathl1:a1:beed6:lengthi1e4:pathl1:ceee4:name1:n12:piece lengthi16384e{pieces}7:privatei1ee"
        );
        let original = format!("d8:announce3:url13:announce-listll3:urlel3:twoee4:info{info}e").into_bytes();
        let good = Torrent::parse(&original).unwrap();
        let mut bytes = original;
        for (at, value, kind) in edits {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = value,
                1 => bytes.insert(at, value),
                _ => { bytes.remove(at); }
            }
        }
        if let Ok(read) = Torrent::parse(&bytes) {
            let same = read.info_hash() == good.info_hash();
            prop_assert_eq!(same, read.to_file(&[]) == good.to_file(&[]));
            prop_assert_eq!(Torrent::parse(&read.to_file(read.tiers())).map(|t| t.info_hash()).ok(), Some(read.info_hash()));
            prop_assert!(read.files().iter().all(|f| f.path.iter().all(|name| is_plain_name(name))));
            let sum: u64 = read.files().iter().map(|f| f.length).sum();
            prop_assert_eq!(sum, read.length());
        }
    }

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Torrent::parse(&bytes).is_err());
    }
}
