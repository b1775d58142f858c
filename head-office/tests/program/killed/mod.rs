//! The real program, killed with SIGKILL in the middle of things and started again.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests; one that starts the program is a process")]

mod access;
mod renewal;

use crate::support;
use crate::support::archive::{Recipe, pack};
use crate::support::daemons::Daemons;
use crate::support::program::Program;
use crate::support::{PATIENCE, status_of, tus};
use artifact::PayloadId;
use fleet_types::ReleaseState;
use reqwest::Method;
use test_kit::{Cluster, wait_for};
use trust::repository::{RoleName, store};
use wire::v1::releases::Release;

const PAYLOAD: usize = 12_000_000;

fn step(release: &Release) -> &str {
    release.progress.as_ref().map_or("", |p| p.step.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_killed_at_every_step_is_finished_and_gives_the_same_artifact() {
    let mut cluster = Cluster::start().unwrap();
    let mut daemons = Daemons::prepare();
    let mut program = Program::new(&cluster.url("postgres"), &daemons);
    support::prepare(&cluster.url("postgres")).await;
    // PostgreSQL is down at first.
    cluster.stop();
    program.launch();
    cluster.resume().unwrap();
    program.wait_until_it_answers().await;
    program.enrol().await;
    let file = pack(program.dir.path(), &Recipe { length: PAYLOAD, bits: 0x1f, ..Recipe::default() });
    let bytes = std::fs::read(&file).unwrap();

    // In the middle of the upload: what was acknowledged is there.
    let id = tus::create(&program.operators, bytes.len()).await;
    let (first, rest) = bytes.split_at(5_000_000);
    assert_eq!(tus::patch(&program.operators, id, 0, first).await.status(), 204);
    program.kill_and_restart().await;
    assert_eq!(tus::offset(&program.operators, id).await, 5_000_000);
    assert_eq!(tus::patch(&program.operators, id, 5_000_000, rest).await.status(), 204);

    // In the middle of encoding: what was encoded is not encoded again.
    let encoding =
        |from: u64| move |r: &Release| r.progress.as_ref().is_some_and(|p| p.step == "encoding" && p.done > from);
    let release = program.wait_for_release("some segments", id, encoding(2_000_000)).await;
    let before = release.progress.unwrap().done;
    program.kill_and_restart().await;
    let log = wait_for("the encoder's account", PATIENCE, async || {
        let log = program.log();
        if log.contains("encoded") && log.contains("resumed") { Ok(log) } else { Err(log) }
    })
    .await;
    let words = log.split_once("resumed").unwrap().1.trim_start_matches(|c: char| !c.is_ascii_digit());
    let resumed: u64 = words.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
    assert!(resumed >= before && resumed < PAYLOAD as u64, "{before} were encoded, {resumed} were kept");

    // The tracker is away: it cannot go beyond listing. No branch is told of the release.
    program.wait_for_release("listing", id, |r| step(r) == "listing" && !r.reasons.is_empty()).await;
    let signed = signed(&program);
    program.kill_and_restart().await;
    daemons.start_tracker();

    // The daemon is away: it cannot go beyond seeding.
    // What the tracker's absence left as a reason stays until there is another.
    let away = |r: &Release| r.why().contains("no BitTorrent daemon answers");
    program.wait_for_release("seeding without a daemon", id, |r| step(r) == "seeding" && away(r)).await;
    program.kill_and_restart().await;
    daemons.start_engine();
    let release = program.wait_for_release("the release", id, |r| r.state == ReleaseState::Published).await;

    let made = release.payloads[0].artifact.clone().unwrap();
    let payload = PayloadId { sha256: release.payloads[0].payload.sha256, length: PAYLOAD as u64 };
    let image = program.dir.path().join("kiosk-1.0.0/payloads/rootfs.img");
    let dir = tempfile::tempdir().unwrap();
    let expected = support::program::undisturbed(dir.path(), &image, payload);
    assert_eq!((made.sha256, made.index_sha256), (expected.sha256, expected.index_sha256));
    let stored = program.dir.path().join("store/artifacts").join(made.file_name());
    assert!(std::fs::read(stored).unwrap() == std::fs::read(dir.path().join("out.seg")).unwrap());
    assert_eq!(daemons.listed(), [made.info_hash.to_string()]);
    let engine = support::engine(daemons.rpc_url(), "filial", "secret", PATIENCE).open();
    assert!(engine.unwrap().status(&made.info_hash).await.unwrap().unwrap().complete);
    let metadata = store::read(&program.dir.path().join("trust/metadata")).unwrap();
    assert_eq!(metadata.payloads().unwrap()[0].sha256, release.payloads[0].payload.sha256);
    assert_eq!(metadata.artifacts().unwrap()[0].sha256, made.sha256);
    assert_eq!(self::signed(&program), signed, "what is signed already is not signed again");
}

/// The versions of what vouches for the release, which stand before it is listed.
fn signed(program: &Program) -> [Option<u64>; 2] {
    let metadata = store::read(&program.dir.path().join("trust/metadata")).unwrap();
    assert_eq!((metadata.payloads().unwrap().len(), metadata.artifacts().unwrap().len()), (1, 1));
    [RoleName::Product("kiosk".parse().unwrap()), RoleName::Derived].map(|role| metadata.version(&role))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_metadata_it_does_not_start_and_says_how_to_make_them() {
    let daemons = Daemons::prepare();
    let program = Program::new("postgresql://nobody@127.0.0.1:1/none", &daemons);
    std::fs::remove_dir_all(program.dir.path().join("trust/metadata")).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_head-office"))
        .args(["--config", program.dir.path().join("config.toml").to_str().unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("trust/metadata"), "{said}");
    assert!(said.contains("filial trust init"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_reached_is_named_by_its_setting() {
    let daemons = Daemons::prepare();
    let mut program = Program::new("postgresql://nobody@127.0.0.1:1/none", &daemons);
    program.launch();
    wait_for("the warning", PATIENCE, async || match program.log() {
        log if log.contains("Check database.url in the configuration") => Ok(()),
        log => Err(log),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgresql_it_says_so_and_recovers_by_itself() {
    let mut cluster = Cluster::start().unwrap();
    let daemons = Daemons::prepare();
    let mut program = Program::new(&cluster.url("postgres"), &daemons);
    support::prepare(&cluster.url("postgres")).await;
    program.launch();
    program.wait_until_it_answers().await;
    cluster.stop();
    wait_for("the refusal", PATIENCE, async || match program.operators.get::<Vec<Release>>("/v1/releases").await {
        Err(error) if error.code() == Some(wire::Code::DatabaseUnavailable) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(status_of(&program.operators, Method::GET, "/healthz").await, 200);
    assert_eq!(status_of(&program.operators, Method::GET, "/readyz").await, 503);
    cluster.resume().unwrap();
    wait_for("an answer again", PATIENCE, async || {
        program.operators.get::<Vec<Release>>("/v1/releases").await.map(|_| ()).map_err(|e| e.to_string())
    })
    .await;
    program.enrol().await;
}

#[test]
fn the_program_explains_itself() {
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_head-office"))
            .args(arguments)
            .env("RUST_BACKTRACE", "1")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, _) = run(&["--help"]);
    assert!(code == Some(0) && out.contains("[engine.transmission]") && out.contains("FILIAL_HEAD_OFFICE__"), "{out}");
    assert!(out.contains("[default: /etc/filial/head-office/head-office.toml]"), "{out}");
    let (code, out, _) = run(&["openapi"]);
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(code == Some(0) && document["paths"]["/v1/assignments"]["post"].is_object());
    let narrow =
        std::process::Command::new(env!("CARGO_BIN_EXE_head-office")).arg("--help").env("COLUMNS", "40").output();
    let narrow = String::from_utf8(narrow.unwrap().stdout).unwrap();
    let example = narrow.split("A complete configuration:\n\n").nth(1).unwrap();
    assert_eq!(example.trim_end(), head_office::config::EXAMPLE.trim_end(), "a wrapped comment is not TOML");
    let (_, out, _) = run(&["man", "--help"]);
    assert!(out.contains("head-office man ./man1") && !out.contains("filial man"), "{out}");
    let (code, _, err) = run(&["--config", "/nonexistent.toml"]);
    assert!(code == Some(2) && err.contains("/nonexistent.toml"), "{err}");
    let (code, _, err) = run(&["check", "--config", "/dev/null"]);
    assert!(code == Some(2) && err.contains("store.folder"), "{err}");
    assert_eq!(err.lines().count(), 1, "no backtrace, no Debug: {err}");
    for arguments in [&["openapi"][..], &["openapi", "--machines"], &["completions", "bash"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let program =
            std::process::Command::new(env!("CARGO_BIN_EXE_head-office")).args(arguments).stdout(writer).output();
        let output = program.unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
}
