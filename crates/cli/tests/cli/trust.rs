//! Keys and metadata as people handle them: made, carried away, signed in different places, taken, rotated.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::fake::{Fake, ID, State};
use super::kit::{code, filial, json, packed, put, stderr, stdout};

/// Two of two release keys must sign.
fn fleet() -> TempDir {
    let dir = packed();
    let made = ["trust", "init", "trust", "--product", "kiosk", "--release-threshold", "2"];
    let said = filial(dir.path(), &made);
    assert_eq!(code(&said), 0, "{}", stderr(&said));
    assert!(
        stdout(&said).contains("2 of 3 root keys") && stdout(&said).contains("signatures by 2 of 2 keys"),
        "{}",
        stdout(&said)
    );
    dir
}

fn refused(at: &Path, args: &[&str], expected: &str) {
    let output = filial(at, args);
    assert_eq!(code(&output), 1, "{args:?}: {}{}", stdout(&output), stderr(&output));
    assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
}

fn role<'a>(seen: &'a Value, name: &str) -> &'a Value {
    seen["roles"].as_array().unwrap().iter().find(|r| r["role"] == name).unwrap()
}

const ACCEPT: [&str; 3] = ["trust", "accept", "trust"];
const ONLINE: [&str; 2] = ["--online", "trust/online"];

fn accept(at: &Path, proposals: &[&str]) -> Value {
    json(at, &[&ACCEPT[..], proposals, &ONLINE, &["--json"]].concat())
}

fn sign_with(at: &Path, key: &str) -> Value {
    let key = format!("trust/offline/product-kiosk-{key}.pem");
    json(at, &["release", "sign", "kiosk-2.4.0.upd", "--metadata", "trust", "--key", &key, "--json"])
}

#[test]
fn a_release_is_signed_in_two_places_and_taken() {
    let dir = fleet();
    let at = dir.path();
    let first = sign_with(at, "1");
    assert_eq!(
        (first["file"].as_str(), first["signatures"].as_array().unwrap().len()),
        (Some("kiosk-2.4.0.proposal"), 1)
    );
    // The second holder works on a copy of what was there before.
    std::fs::rename(at.join("kiosk-2.4.0.proposal"), at.join("one.proposal")).unwrap();
    refused(at, &[&ACCEPT[..], &["one.proposal"], &ONLINE].concat(), "lacks 1 signature");
    std::fs::copy(at.join("one.proposal"), at.join("kiosk-2.4.0.proposal")).unwrap();
    assert_eq!(sign_with(at, "2")["signatures"].as_array().unwrap().len(), 2);

    let taken = accept(at, &["one.proposal", "kiosk-2.4.0.proposal"]);
    assert_eq!(taken["taken"].as_array().unwrap().len(), 1, "copies of one proposal are one: {taken}");
    let seen = json(at, &["trust", "inspect", "trust", "--json"]);
    let archive = json(at, &["release", "inspect", "kiosk-2.4.0.upd", "--json"]);
    assert_eq!(seen["payloads"][0]["manifest"], archive["manifest_sha256"]);
    assert_eq!(seen["payloads"][0]["sha256"], archive["manifest"]["payload"][0]["sha256"]);
    assert_eq!(role(&seen, "product-kiosk")["signed_by"].as_array().unwrap().len(), 2);
    let text = stdout(&filial(at, &["trust", "inspect", "trust/metadata"]));
    assert!(text.contains("kiosk 2.4.0") && text.contains("(2 of 2 needed)"), "{text}");

    // Once accepted, its base version is superseded.
    refused(at, &[&ACCEPT[..], &["kiosk-2.4.0.proposal"], &ONLINE].concat(), "in force");
}

#[test]
fn nobody_signs_what_is_damaged_or_says_something_else() {
    let dir = fleet();
    let at = dir.path();
    sign_with(at, "1");
    let key = "trust/offline/product-kiosk-2.pem";
    let sign = ["release", "sign", "kiosk-2.4.0.upd", "--metadata", "trust", "--key", key];

    // An attacker's proposal in its place, for another release.
    let path = at.join("kiosk-2.4.0.proposal");
    let text = std::fs::read_to_string(&path).unwrap();
    let forged = text.replace("releases/kiosk/2.4.0/rootfs", "releases/kiosk/9.9.9/rootfs");
    assert_ne!(forged, text);
    put(&path, forged.as_bytes());
    refused(at, &sign, "proposes changes other than this release");
    std::fs::remove_file(&path).unwrap();

    refused(
        at,
        &["release", "sign", "kiosk-2.4.0.upd", "--metadata", "trust", "--key", "trust/online/plan.pem"],
        "does not hold",
    );
    let mut archive = std::fs::read(at.join("kiosk-2.4.0.upd")).unwrap();
    let middle = archive.len() / 2;
    archive[middle] ^= 1;
    put(&at.join("kiosk-2.4.0.upd"), &archive);
    refused(at, &sign, "is not signed");
    assert!(!path.exists(), "nothing was proposed");
}

#[test]
fn a_key_that_does_not_hold_the_role_signs_no_proposal() {
    let dir = fleet();
    let at = dir.path();
    json(at, &["trust", "propose", "trust", "product-kiosk", "--out", "p", "--json"]);
    let before = std::fs::read(at.join("p")).unwrap();
    let sign = |key: &'static str| ["trust", "sign", "p", "--key", key];
    refused(at, &sign("trust/offline/root-1.pem"), "The key trust/offline/root-1.pem does not hold role product-kiosk");
    assert_eq!(std::fs::read(at.join("p")).unwrap(), before);
    json(at, &[&sign("trust/offline/product-kiosk-2.pem")[..], &["--json"]].concat());
    // A proposal of an earlier version names no holders: the metadata decides when it is accepted.
    let mut earlier: Value = serde_json::from_slice(&before).unwrap();
    earlier.as_object_mut().unwrap().remove("holders").unwrap();
    put(&at.join("p"), earlier.to_string().as_bytes());
    json(at, &[&sign("trust/offline/root-1.pem")[..], &["--json"]].concat());
    put(&at.join("run.sh"), b"#!/bin/sh\n");
    refused(at, &["trust", "sign", "run.sh"], "filial: run.sh is not a proposal\n");
    refused(at, &[&ACCEPT[..], &["run.sh"], &ONLINE].concat(), "filial: run.sh is not a proposal\n");
}

#[test]
fn the_root_rotates_with_old_and_new_keys() {
    let dir = fleet();
    let at = dir.path();
    let new = json(at, &["trust", "key", "new.pem", "--json"])["public"].as_str().unwrap().to_owned();
    let seen = json(at, &["trust", "inspect", "trust", "--json"]);
    let present: Vec<_> =
        role(&seen, "root")["holders"].as_array().unwrap().iter().map(|h| h["public"].as_str().unwrap()).collect();
    // One of the three is replaced.
    let propose =
        ["trust", "propose", "trust", "root", "--key", present[0], "--key", present[1], "--key", &new, "--out", "p"];
    json(at, &[&propose[..], &["--json"]].concat());
    let keys =
        ["--key", "trust/offline/root-1.pem", "--key", "trust/offline/root-2.pem", "--key", "trust/offline/root-3.pem"];
    json(at, &[&["trust", "sign", "p"], &keys[..2], &["--json"]].concat());
    refused(at, &[&ACCEPT[..], &["p"], &ONLINE].concat(), "lacks");
    json(at, &[&["trust", "sign", "p"], &keys[2..], &["--key", "new.pem", "--json"]].concat());
    accept(at, &["p"]);
    let seen = json(at, &["trust", "inspect", "trust", "--json"]);
    assert_eq!(role(&seen, "root")["version"], 2);
    assert!(role(&seen, "root")["holders"].to_string().contains(&new));
    assert!(at.join("trust/metadata/1.root.json").exists(), "whoever missed a rotation walks over it");
}

#[test]
fn release_keys_rotate_and_what_they_signed_stays() {
    let dir = fleet();
    let at = dir.path();
    sign_with(at, "1");
    sign_with(at, "2");
    accept(at, &["kiosk-2.4.0.proposal"]);

    let new = json(at, &["trust", "key", "new.pem", "--json"])["public"].as_str().unwrap().to_owned();
    let role_name = "product-kiosk";
    let keys = ["--key", &new, "--threshold", "1"];
    json(at, &[&["trust", "propose", "trust", role_name, "--out", "d", "--json"][..], &keys].concat());
    json(at, &["trust", "sign", "d", "--key", "trust/offline/targets-1.pem", "--json"]);
    // Alone it would leave the product's releases signed by keys that do not count any more.
    refused(at, &[&ACCEPT[..], &["d"], &ONLINE].concat(), "must sign it again");
    json(at, &["trust", "propose", "trust", role_name, "--after", "d", "--out", "r", "--json"]);
    json(at, &["trust", "sign", "r", "--key", "new.pem", "--json"]);
    accept(at, &["d", "r"]);
    let seen = json(at, &["trust", "inspect", "trust", "--json"]);
    assert_eq!(seen["payloads"].as_array().unwrap().len(), 1);
    assert_eq!(role(&seen, role_name)["holders"][0]["public"], new.as_str());
    std::fs::remove_file(at.join("kiosk-2.4.0.proposal")).unwrap();
    refused(
        at,
        &["release", "sign", "kiosk-2.4.0.upd", "--metadata", "trust", "--key", "trust/offline/product-kiosk-1.pem"],
        "already signed",
    );
}

#[test]
fn keys_are_never_overwritten_and_never_read_if_others_can() {
    let dir = fleet();
    let at = dir.path();
    refused(at, &["trust", "init", "trust", "--product", "till"], "not empty");
    refused(
        at,
        &["trust", "init", "new", "--product", "till", "--root-threshold", "4"],
        "4 signatures cannot come from 3 root key",
    );
    assert!(!at.join("new").exists(), "nothing is made of a command that is refused");
    refused(at, &["trust", "key", "trust/offline/root-1.pem"], "already exists");
    refused(at, &["trust", "inspect", "nowhere"], "filial trust init");
    for folder in ["trust/offline", "trust/online"] {
        for entry in std::fs::read_dir(at.join(folder)).unwrap().flatten() {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        }
    }
    let key = at.join("trust/offline/product-kiosk-1.pem");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let output = filial(
        at,
        &[
            "release",
            "sign",
            "kiosk-2.4.0.upd",
            "--metadata",
            "trust",
            "--key",
            "trust/offline/product-kiosk-1.pem",
            "--json",
        ],
    );
    assert_eq!(code(&output), 1);
    let said: Value = serde_json::from_str(&stderr(&output)).unwrap();
    assert_eq!(said["code"], "key-file-exposed", "{said}");
    assert!(!said.to_string().contains("PRIVATE"), "{said}");
}

#[test]
fn signatures_are_posted_to_the_release_that_was_uploaded() {
    let dir = fleet();
    let at = dir.path();
    let manifest = "a".repeat(64);
    let release = |state: &str, signatures: Value| {
        serde_json::json!({
            "id": ID, "product": "kiosk", "version": "2.4.0", "state": state, "file_name": "k.upd", "archive_bytes": 1,
            "received_bytes": 1, "manifest": manifest, "report": null, "payloads": [], "created": "2031-05-06T07:00:00Z",
            "changed": "2031-05-06T07:08:00Z", "signatures": signatures,
        })
    };
    let waits =
        release("awaiting-signature", serde_json::json!({ "signed_by": [manifest], "threshold": 2, "missing": 1 }));
    let list = "GET /v1/releases?product=kiosk&version=2.4.0";
    let post = format!("POST /v1/releases/{ID}/signatures");
    let fake = Fake::answering(&[
        (list, 200, serde_json::json!([release("awaiting-signature", Value::Null)])),
        (&post, 200, waits.clone()),
        (&format!("GET /v1/releases/{ID}"), 200, waits),
    ]);
    let key = "trust/offline/product-kiosk-1.pem";
    let sign = ["release", "sign", "kiosk-2.4.0.upd", "--metadata", "trust", "--key", key, "--post"];
    let said = filial(at, &[&["--server", &fake.url], &sign[..]].concat());
    assert_eq!(code(&said), 0, "{}", stderr(&said));
    assert!(stdout(&said).contains("1 of 2 needed (aaaaaaaa); 1 missing"), "{}", stdout(&said));
    let posted: Value = serde_json::from_str(&fake.state.lock().unwrap().body).unwrap();
    let file: Value = serde_json::from_slice(&std::fs::read(at.join("kiosk-2.4.0.proposal")).unwrap()).unwrap();
    assert_eq!(posted, file, "what is posted is the file");

    let again = ["release", "post-signatures", ID, "kiosk-2.4.0.proposal", "--json", "--server", &fake.url];
    assert_eq!(json(at, &again)["signatures"]["missing"], 1);
    let show = filial(at, &["release", "show", ID, "--server", &fake.url]);
    assert!(stdout(&show).contains("1 of 2 needed"), "{}", stdout(&show));
    put(&at.join("none"), b"{}");
    refused(at, &["release", "post-signatures", ID, "none", "--server", &fake.url], "none is not a proposal");
}

#[test]
fn holders_sign_that_a_release_is_vouched_for_no_more() {
    let dir = fleet();
    let at = dir.path();
    sign_with(at, "1");
    sign_with(at, "2");
    accept(at, &["kiosk-2.4.0.proposal"]);
    let propose = ["trust", "propose", "trust", "product-kiosk", "--withdraw", "2.4.0", "--out", "w"];
    json(at, &[&propose[..], &["--json"]].concat());
    let keys = ["--key", "trust/offline/product-kiosk-1.pem", "--key", "trust/offline/product-kiosk-2.pem"];
    json(at, &[&["trust", "sign", "w", "--json"][..], &keys].concat());
    accept(at, &["w"]);
    let seen = json(at, &["trust", "inspect", "trust", "--json"]);
    assert_eq!(seen["payloads"].as_array().unwrap().len(), 0);
    refused(at, &propose, "is not signed");
}

#[test]
fn whoever_signs_elsewhere_fetches_what_is_in_force_and_nobody_hands_out_what_was() {
    let dir = fleet();
    let at = dir.path();
    let before = served(&at.join("trust/metadata")).files;
    sign_with(at, "1");
    sign_with(at, "2");
    accept(at, &["kiosk-2.4.0.proposal"]);
    let fake = Fake::start(served(&at.join("trust/metadata")));
    let fetch = ["trust", "fetch", "away", "--root", "trust/root.json", "--server", &fake.url];
    json(at, &[&fetch[..], &["--json"]].concat());
    let seen = json(at, &["trust", "inspect", "away", "--json"]);
    assert_eq!(seen, json(at, &["trust", "inspect", "trust", "--json"]));
    // Against it, what is signed already is not signed again; and nothing older is believed any more.
    std::fs::remove_file(at.join("kiosk-2.4.0.proposal")).unwrap();
    let key = "trust/offline/product-kiosk-1.pem";
    refused(at, &["release", "sign", "kiosk-2.4.0.upd", "--metadata", "away", "--key", key], "already signed");
    fake.state.lock().unwrap().files = before;
    refused(at, &fetch, "the source replays old metadata");
    assert_eq!(json(at, &["trust", "inspect", "away", "--json"]), seen);
    refused(at, &["trust", "fetch", "new", "--root", "nothing", "--server", &fake.url], "nothing");
}

/// The metadata of a folder, as head office serves it.
fn served(folder: &Path) -> State {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let files = entries.filter(|e| e.file_name().to_string_lossy().ends_with(".json"));
    let path = |e: &std::fs::DirEntry| format!("/v1/metadata/{}", e.file_name().to_string_lossy());
    State { files: files.map(|e| (path(&e), std::fs::read(e.path()).unwrap())).collect(), ..State::default() }
}

#[test]
fn a_fetch_from_a_stopped_server_fails_as_every_command_and_leaves_nothing() {
    let dir = fleet();
    let url = format!("http://{}", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let fetch = ["trust", "fetch", "away", "--root", "trust/root.json", "--server", &url];
    let output = filial(dir.path(), &fetch);
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    assert!(stderr(&output).starts_with(&format!("filial: {url} does not answer\n")), "{}", stderr(&output));
    assert!(!dir.path().join("away").exists());
}

#[test]
fn metadata_is_fetched_for_the_given_root_and_into_a_folder_of_its_own() {
    let dir = fleet();
    let at = dir.path();
    json(at, &["trust", "init", "other", "--product", "kiosk", "--json"]);
    let fake = Fake::start(served(&at.join("trust/metadata")));
    let fetch =
        |folder: &str, root: &str| filial(at, &["trust", "fetch", folder, "--root", root, "--server", &fake.url]);
    let says = |output: &std::process::Output, text: &str| {
        assert!(code(output) == 1 && stderr(output).starts_with(&format!("filial: {text}")), "{}", stderr(output));
    };
    says(&fetch("src", "trust/root.json"), "src is not empty and holds no metadata\n");
    assert!(!at.join("src/trust.json").exists() && !at.join("src/metadata").exists());
    // A wrong root file does not spoil the folder for the right one.
    assert_eq!(code(&fetch("away", "other/root.json")), 1);
    assert_eq!(code(&fetch("away", "src/release.toml")), 1);
    let right = fetch("away", "trust/root.json");
    assert_eq!(code(&right), 0, "{}", stderr(&right));
    says(&fetch("away", "other/root.json"), "other/root.json belongs to another fleet than the metadata in away\n");
    says(&fetch("away", "src/release.toml"), "src/release.toml is not a root.json: ");
    assert_eq!(code(&fetch("away", "trust/root.json")), 0);
}
