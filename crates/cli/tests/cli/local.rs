//! What needs no server: pack, inspect, validate, torrent files.

use super::kit::{code, filial, json, packed, put, source, stderr, stdout};

#[test]
fn from_a_folder_to_a_verified_torrent() {
    let dir = source();
    let at = dir.path();
    let made = json(at, &["--json", "release", "pack", "src"]);
    assert_eq!(made["file"], "kiosk-2.4.0.upd");
    assert_eq!(made["payloads"][0]["size"], 3_000_000);

    let seen = json(at, &["release", "inspect", "kiosk-2.4.0.upd", "--json"]);
    assert_eq!(seen["manifest"]["version"], "2.4.0");
    assert_eq!(seen["manifest_sha256"], made["manifest_sha256"]);
    assert_eq!(seen["bytes"], made["bytes"]);

    let report = json(at, &["release", "validate", "kiosk-2.4.0.upd", "--json"]);
    let verdicts: Vec<_> =
        report["findings"].as_array().unwrap().iter().map(|f| f["verdict"].as_str().unwrap()).collect();
    let expected = "pass pass pass pass pass pass unknown pass unknown unknown unknown pass unknown unknown pass pass";
    assert_eq!(verdicts.join(" "), expected);

    let torrent = json(at, &["torrent", "create", "src", "--tracker", "http://10.0.0.1:6969/announce", "--json"]);
    assert_eq!(torrent["file"], "src.torrent");
    let same = json(at, &["torrent", "inspect", "src.torrent", "--json"]);
    assert_eq!(same["info_hash"], torrent["info_hash"]);
    assert_eq!(same["trackers"][0][0], "http://10.0.0.1:6969/announce");
    assert_eq!(same["private"], true);
    let good = json(at, &["torrent", "verify", "src.torrent", "src", "--json"]);
    assert_eq!((good["ok"].as_bool(), good["bad"].as_array().unwrap().len()), (Some(true), 0));

    put(&at.join("src/rootfs.img"), &[7; 3_000_000]);
    let bad = filial(at, &["torrent", "verify", "src.torrent", "src"]);
    assert_eq!(code(&bad), 1);
    assert!(stdout(&bad).contains("Invalid pieces: 0"), "{}", stdout(&bad));
    assert!(stderr(&bad).contains("does not match the torrent"), "{}", stderr(&bad));
}

#[test]
fn people_get_tables_and_a_checklist() {
    let dir = packed();
    let seen = stdout(&filial(dir.path(), &["release", "inspect", "kiosk-2.4.0.upd"]));
    assert!(seen.contains("product   kiosk\nversion   2.4.0\nmanifest  ") && seen.contains("2.9 MiB"), "{seen}");
    let list = filial(dir.path(), &["release", "validate", "kiosk-2.4.0.upd"]);
    let text = stdout(&list);
    assert_eq!(code(&list), 0, "unknown alone is no failure");
    assert!(text.contains("✓ archive-shape") && text.contains("? fits-slot"), "{text}");
    assert!(text.contains("16 rules: 10 pass, 6 unknown"), "{text}");
    let torrent = stdout(&filial(dir.path(), &["torrent", "create", "kiosk-2.4.0.upd"]));
    assert!(torrent.contains("info hash") && torrent.contains("sha256"), "{torrent}");
}

#[test]
fn a_broken_rule_exits_4_with_its_line_and_remedy() {
    let dir = packed();
    let path = dir.path().join("kiosk-2.4.0.upd");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    put(&path, &bytes);
    let output = filial(dir.path(), &["release", "validate", "kiosk-2.4.0.upd"]);
    assert_eq!(code(&output), 4);
    assert!(stdout(&output).contains("✗ digests"), "{}", stdout(&output));
    assert!(stdout(&output).contains("→ Pack again"), "{}", stdout(&output));
    let output = filial(dir.path(), &["release", "validate", "kiosk-2.4.0.upd", "--json"]);
    assert_eq!(code(&output), 4);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["findings"][3]["verdict"], "fail");
}

#[test]
fn the_policy_is_the_one_that_is_given() {
    let dir = packed();
    put(&dir.path().join("strict.toml"), b"[notes-present]\nmin_characters = 1000\n");
    let output = filial(dir.path(), &["release", "validate", "kiosk-2.4.0.upd", "--policy", "strict.toml"]);
    assert_eq!(code(&output), 4);
    assert!(stdout(&output).contains("✗ notes-present"));
    put(&dir.path().join("strict.toml"), b"[notes]\n");
    let output = filial(dir.path(), &["release", "validate", "kiosk-2.4.0.upd", "--policy", "strict.toml"]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("strict.toml is not a valid policy: "), "{}", stderr(&output));
}

#[test]
fn missing_and_invalid_files_are_named() {
    let dir = source();
    for (args, says) in [
        (&["release", "inspect", "none.upd"][..], "Cannot read none.upd"),
        (&["release", "inspect", "src/rootfs.img"], "is not a valid update archive"),
        (&["release", "pack", "nowhere"], "Cannot read nowhere"),
        (&["release", "upload", "none.upd"], "Cannot read none.upd"),
        (&["torrent", "inspect", "src/rootfs.img"], "not a torrent file"),
        (&["torrent", "create", "none"], "Cannot read none"),
        (&["torrent", "create", "src", "--tracker", "nonsense"], "is not a tracker's announce URL"),
        (&["torrent", "create", "src", "--piece-length", "17"], "piece length"),
        (&["--token-file", "none", "branch", "list"], "none"),
        (&["--server", "ftp://x", "branch", "list"], "ftp://x"),
    ] {
        let output = filial(dir.path(), args);
        assert_eq!(code(&output), 1, "{args:?}");
        let text = stderr(&output);
        assert!(text.starts_with("filial: ") && text.contains(says), "{args:?}: {text}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn a_pack_that_fails_says_which_file_and_leaves_nothing() {
    let dir = source();
    std::fs::remove_file(dir.path().join("src/rootfs.img")).unwrap();
    let output = filial(dir.path(), &["release", "pack", "src", "--json"]);
    assert_eq!(code(&output), 1);
    let error: serde_json::Value = serde_json::from_str(&stderr(&output)).unwrap();
    assert!(error["error"].as_str().unwrap().contains("src/rootfs.img"), "{error}");
    assert!(error["cause"].as_str().unwrap().contains("No such file"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
