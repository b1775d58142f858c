//! A branch lost its copy of an artifact and says so; head office is killed before the BitTorrent daemon renewed the torrent,
//! and the first renewal does not help.

use fleet_types::ReleaseState;
use rustix::process::{Pid, Signal, kill_process};
use test_kit::{Cluster, wait_for};
use wire::v1::plan::ArtifactRef;
use wire::v1::releases::Release;
use wire::v1::reports::{Acknowledged, Batch, Numbered, Report};

use crate::support::archive::{Recipe, pack};
use crate::support::daemons::Daemons;
use crate::support::program::Program;
use crate::support::{self, PATIENCE, begin, tus};

/// What a branch says of the artifact: everything, then nothing.
fn lost(artifact: &ArtifactRef, first: u64) -> Vec<Numbered> {
    let held =
        |have_bytes, complete| Report::Artifact { artifact: artifact.sha256, have_bytes, complete, trouble: None };
    let reports = [held(artifact.length, true), held(0, false)];
    (first..).zip(reports).map(|(seq, report)| Numbered { seq, at: begin(), report }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torrent_is_renewed_until_it_helps_whenever_head_office_is_killed() {
    let cluster = Cluster::start().unwrap();
    let daemons = Daemons::start();
    let mut program = Program::new(&cluster.url("postgres"), &daemons);
    support::prepare(&cluster.url("postgres")).await;
    program.launch();
    program.wait_until_it_answers().await;
    let branch = program.enrol().await;
    let file = pack(program.dir.path(), &Recipe { length: 300_000, bits: 0x1f, ..Recipe::default() });
    let id = tus::upload(&program.operators, &std::fs::read(&file).unwrap()).await;
    let is_published = |r: &Release| r.state == ReleaseState::Published;
    let release = program.wait_for_release("the release", id, is_published).await;
    let artifact = release.payloads[0].artifact.clone().unwrap();
    let hash = artifact.info_hash.to_string();
    let before = daemons.torrent_id(&hash).await.unwrap();

    // A daemon that hangs renews nothing: the kill comes between the acknowledgement and the renewal.
    let engine = Pid::from_raw(i32::try_from(daemons.engine.as_ref().unwrap().id()).unwrap()).unwrap();
    kill_process(engine, Signal::STOP).unwrap();
    let batch = Batch { epoch: branch.epoch, reports: lost(&artifact, 3) };
    let answer: Acknowledged = branch.client.post("/v1/reports", &batch).await.unwrap();
    assert_eq!(answer.through, 4);
    program.running = None;
    kill_process(engine, Signal::CONT).unwrap();
    program.launch();
    program.wait_until_it_answers().await;

    // A torrent that the daemon was given once more has a new number there.
    let renewed_after = async |before| {
        wait_for("the renewal", PATIENCE, async || match daemons.torrent_id(&hash).await {
            Some(id) if id > before => Ok(id),
            other => Err(format!("{other:?} after {before}\n{}", program.log())),
        })
        .await
    };
    let first = renewed_after(before).await;
    // The branch says nothing more: the tracker may not have known of its loss yet.
    renewed_after(first).await;
    let grown = Report::Artifact { artifact: artifact.sha256, have_bytes: 1, complete: false, trouble: None };
    let reports = vec![Numbered { seq: 5, at: begin(), report: grown }];
    let answer: Acknowledged =
        branch.client.post("/v1/reports", &Batch { epoch: branch.epoch, reports }).await.unwrap();
    assert_eq!(answer.through, 5);
    let pool = support::pool(&cluster.url("postgres")).await;
    assert_eq!(support::count(&pool, "SELECT count(*) FROM torrent_renewals").await, 0, "the branch is being served");
}
