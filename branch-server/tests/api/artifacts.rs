//! GET /v1/artifacts/{sha256}/index, …/torrent and /v1/manifests/{sha256}

use branch_server::artifacts::model::{Stage, wanted};
use branch_server::db::{artifacts, manifests};
use reqwest::StatusCode;
use service_kit::database::connection;
use swarm::Torrent;
use wire::Code;
use wire::v1::plan::Plan;
use wire::v1::sync::Sync;

use crate::fixture::Fixture;
use crate::plans::plan;
use crate::support::{Branch, Till, assert_refused};

/// A branch whose plan names the fixture's artifact, described but not yet listed.
async fn described(fixture: &Fixture) -> (Branch, Till) {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    let plan = Plan { steps: vec![fixture.step.clone()], ..plan(7) };
    branch.head_office.offer(&plan);
    branch.app.poll.once().await.unwrap();
    let client = connection(&branch.app.pool).await.unwrap();
    let wanted = &wanted(&plan)[0];
    artifacts::insert(&client, wanted).await.unwrap();
    manifests::insert(&client, &wanted.manifest, &fixture.manifest).await.unwrap();
    artifacts::describe(&client, &wanted.artifact.sha256, &fixture.index, &fixture.torrent).await.unwrap();
    (branch, token)
}

async fn set(branch: &Branch, fixture: &Fixture, from: Stage, to: Stage) {
    let client = connection(&branch.app.pool).await.unwrap();
    assert!(artifacts::set_stage(&client, &fixture.step.artifact.sha256, from, to).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_is_fetched_terminals_get_index_torrent_and_manifest() {
    let fixture = Fixture::new(1);
    let (branch, token) = described(&fixture).await;
    set(&branch, &fixture, Stage::Described, Stage::Listed).await;
    let sha256 = fixture.step.artifact.sha256;

    let sync: Sync = branch.ask("/v1/sync", &token).await.json().await.unwrap();
    assert_eq!(sync.available, [sha256]);
    let index = branch.ask(&wire::v1::paths::artifact_index(&sha256), &token).await;
    assert_eq!(index.bytes().await.unwrap(), fixture.index);
    let manifest = branch.ask(&wire::v1::paths::manifest(&fixture.step.manifest), &token).await;
    assert_eq!(manifest.bytes().await.unwrap(), fixture.manifest);
    let torrent = branch.ask(&wire::v1::paths::artifact_torrent(&sha256), &token).await;
    assert_eq!(torrent.headers()["content-type"], "application/x-bittorrent");
    let torrent = Torrent::parse(&torrent.bytes().await.unwrap()).unwrap();
    assert_eq!(torrent.tiers(), [["http://127.0.0.1:9/announce"]], "the branch's tracker and no other");
    assert_eq!(torrent.info_hash(), fixture.step.artifact.info_hash);
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_tracker_accepts_it_and_while_it_is_dropped_it_is_not_offered() {
    let fixture = Fixture::new(1);
    let (branch, token) = described(&fixture).await;
    let path = wire::v1::paths::artifact_index(&fixture.step.artifact.sha256);
    assert_refused(branch.ask(&path, &token).await, Code::NotHeldYet).await;
    let sync: Sync = branch.ask("/v1/sync", &token).await.json().await.unwrap();
    assert_eq!(sync.available, []);
    set(&branch, &fixture, Stage::Described, Stage::Listed).await;
    assert_eq!(branch.ask(&path, &token).await.status(), StatusCode::OK);
    set(&branch, &fixture, Stage::Listed, Stage::Dropping).await;
    assert_refused(branch.ask(&path, &token).await, Code::NotHeldYet).await;
    // Once the plan has stopped naming it, it does not exist.
    branch.head_office.offer(&Plan { steps: Vec::new(), ..plan(8) });
    branch.app.poll.once().await.unwrap();
    assert_refused(branch.ask(&path, &token).await, Code::NotFound).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_planned_and_not_here_yet_is_not_said_to_be_missing() {
    let fixture = Fixture::new(1);
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    branch.head_office.offer(&Plan { steps: vec![fixture.step.clone()], ..plan(7) });
    branch.app.poll.once().await.unwrap();
    let sha256 = fixture.step.artifact.sha256;
    for path in [
        wire::v1::paths::artifact_index(&sha256),
        wire::v1::paths::artifact_torrent(&sha256),
        wire::v1::paths::manifest(&fixture.step.manifest),
    ] {
        assert_refused(branch.ask(&path, &token).await, Code::NotHeldYet).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_unknown_digests_and_nonsense_are_refused() {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    for (before, after) in [("/v1/artifacts/", "/index"), ("/v1/artifacts/", "/torrent"), ("/v1/manifests/", "")] {
        let known = format!("{before}{}{after}", "ab".repeat(32));
        assert_refused(branch.get(branch.machines, &known, None).await, Code::Unauthenticated).await;
        assert_refused(branch.ask(&known, &token).await, Code::NotFound).await;
        for nonsense in ["x".to_owned(), "AB".repeat(32), "..%2f..%2fetc%2fpasswd".to_owned()] {
            assert_refused(branch.ask(&format!("{before}{nonsense}{after}"), &token).await, Code::BadField).await;
        }
    }
}
