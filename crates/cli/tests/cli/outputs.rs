//! Files that commands write: a path that cannot be written is refused before anything is done for it.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::fake::Fake;
use super::kit::{code, filial, packed, put, source, stderr};

#[test]
fn a_secret_without_a_place_is_not_asked_for() {
    let office = Fake::answering(&[
        (
            "POST /v1/branches",
            201,
            json!({ "name": "west", "join_token": "j", "join_token_expires": "2031-05-06T07:08:09Z" }),
        ),
        ("POST /v1/tokens", 201, json!({})),
        ("POST /v1/session", 200, json!({})),
    ]);
    let dir = packed();
    put(&dir.path().join("password"), b"correct horse battery staple\n");
    for args in
        [&["branch", "add", "west", "--join-token-file", "nope/x"][..], &["token", "create", "ci", "--out", "nope/x"]]
    {
        let output = filial(dir.path(), &[&["--server", &office.url], args].concat());
        let text = stderr(&output);
        assert_eq!(code(&output), 1, "{args:?}: {text}");
        assert!(text.contains("filial: Cannot create nope/x: the folder nope does not exist\n"), "{args:?}: {text}");
        assert!(text.contains("to do: Create the folder"), "{args:?}: {text}");
    }
    // A login that cannot be stored: its folder is a file.
    put(&dir.path().join("config/filial"), b"");
    let login = ["login", "ann", "--password-file", "password", "--server", &office.url];
    let output = filial(dir.path(), &login);
    assert!(code(&output) == 1 && stderr(&output).contains("config/filial"), "{}", stderr(&output));
    assert!(office.state.lock().unwrap().requests.is_empty(), "refused before the server is asked");
}

#[test]
fn the_file_that_was_given_is_named_and_nothing_else() {
    let dir = source();
    let at = dir.path();
    put(&at.join("file"), b"");
    std::fs::create_dir(at.join("closed")).unwrap();
    std::fs::set_permissions(at.join("closed"), std::fs::Permissions::from_mode(0o555)).unwrap();
    assert_eq!(code(&filial(at, &["release", "pack", "src"])), 0);
    assert_eq!(code(&filial(at, &["trust", "init", "trust", "--product", "kiosk"])), 0);
    let key = "trust/offline/product-kiosk-1.pem";
    for args in [
        &["torrent", "create", "src", "--out"][..],
        &["release", "pack", "src", "--out"],
        &["trust", "key"],
        &["trust", "propose", "trust", "product-kiosk", "--out"],
        &["release", "sign", "kiosk-2.4.0.upd", "--metadata", "trust", "--key", key, "--out"],
    ] {
        let mut cases = vec![
            ("nope/x", "Cannot create nope/x: the folder nope does not exist"),
            ("file/x", "Cannot create file/x: file is not a folder"),
        ];
        // Root may write everywhere.
        if std::fs::File::create(at.join("closed/probe")).is_err() {
            cases.push(("closed/x", "Cannot create closed/x: you may not write to the folder closed"));
        }
        for (out, says) in cases {
            let output = filial(at, &[args, &[out]].concat());
            let text = stderr(&output);
            assert!(code(&output) == 1 && text.starts_with(&format!("filial: {says}\n")), "{args:?}: {text}");
            assert!(!text.contains(".tmp") && !text.contains("partial") && !text.contains("payload"), "{text}");
        }
    }
    let left = std::fs::read_dir(at).unwrap().flatten().filter(|e| e.file_name().to_string_lossy().starts_with('.'));
    assert_eq!(left.count(), 0, "no probe stays");
}
