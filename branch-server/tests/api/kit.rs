//! A kit: what comes by hand while head office is away.

use std::collections::BTreeMap;

use branch_server::artifacts::model::Stage;
use branch_server::db::artifacts;
use chrono::TimeDelta;
use reqwest::{Method, StatusCode};
use service_kit::database::connection;
use service_kit::{Clock, SystemClock};
use test_kit::wait_for;
use wire::Code;
use wire::v1::kit::{Blob, CarriedArtifact, CarriedReports, Imported, KIT_FORMAT, Kit};
use wire::v1::paths;
use wire::v1::plan::Plan;
use wire::v1::sync::Sync;

use crate::daemons::Daemons;
use crate::fixture::Fixture;
use crate::head_office::Mood;
use crate::plans::{kept, plan};
use crate::support::{Branch, OPERATOR, Options, PATIENCE, VIEWER, assert_refused};

/// What head office would write for `plan`, which it signs and does not offer over the link.
fn kit(branch: &Branch, plan: &Plan, carried: &[&Fixture]) -> Kit {
    let (envelope, files) = branch.head_office.with(|s| {
        let envelope = s.fleet.order(plan, SystemClock.now()).unwrap();
        (envelope, s.fleet.files())
    });
    Kit {
        format: KIT_FORMAT,
        branch: plan.branch.clone(),
        made_at: SystemClock.now(),
        plan: Some(envelope),
        metadata: files.into_iter().map(|(name, bytes)| (name, Blob(bytes))).collect(),
        artifacts: carried.iter().map(|fixture| artifact(fixture)).collect(),
        manifests: carried.iter().map(|f| (f.step.manifest, Blob(f.manifest.clone()))).collect(),
    }
}

fn artifact(fixture: &Fixture) -> CarriedArtifact {
    CarriedArtifact {
        artifact: fixture.step.artifact.sha256,
        length: fixture.step.artifact.length,
        index: Blob(fixture.index.clone()),
        torrent: Blob(fixture.torrent.clone()),
    }
}

async fn import(branch: &Branch, kit: &Kit) -> reqwest::Response {
    let body = serde_json::to_vec(kit).unwrap();
    branch.send(Method::POST, paths::KIT, Some(OPERATOR), body).await
}

async fn bring(branch: &Branch, fixture: &Fixture, body: Vec<u8>) -> reqwest::Response {
    branch.send(Method::PUT, &paths::kit_artifact(&fixture.step.artifact.sha256), Some(OPERATOR), body).await
}

async fn stage(branch: &Branch, fixture: &Fixture) -> Option<Stage> {
    let client = connection(&branch.app.pool).await.unwrap();
    artifacts::read(&client, &fixture.step.artifact.sha256).await.unwrap().map(|record| record.stage)
}

fn files(branch: &Branch) -> usize {
    std::fs::read_dir(branch.app.store.folder()).unwrap().count()
}

/// A branch whose link is gone.
async fn cut_off(options: Options) -> Branch {
    let branch = Branch::start(options).await;
    branch.app.poll.once().await.unwrap();
    branch.head_office.with(|s| s.mood = Mood::Away);
    branch
}

fn names(fixture: &Fixture, serial: u64) -> Plan {
    Plan { steps: vec![fixture.step.clone()], ..plan(serial) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_and_its_artifact_come_by_hand_and_terminals_get_them() {
    let (daemons, fixture) = (Daemons::start(), Fixture::new(1));
    let branch = cut_off(daemons.options()).await;
    let token = branch.enrol("till-1").await;
    branch.start_jobs();
    let carried = kit(&branch, &names(&fixture, 7), &[&fixture]);
    let length = fixture.step.artifact.length;
    let answer = import(&branch, &carried).await;
    assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.unwrap());
    let imported: Imported = answer.json().await.unwrap();
    assert_eq!((imported.serial, imported.new_plan, imported.wants.len()), (Some(7), true, 1));
    assert_eq!(bring(&branch, &fixture, fixture.file.clone()).await.status(), StatusCode::NO_CONTENT);
    wait_for("the artifact to be held", PATIENCE, async || {
        let held = stage(&branch, &fixture).await == Some(Stage::Held);
        if held { Ok(()) } else { Err("not yet") }
    })
    .await;
    let sync: Sync = branch.ask(paths::SYNC, &token).await.json().await.unwrap();
    assert_eq!(sync.available, [fixture.step.artifact.sha256]);
    let metadata = branch.ask(&paths::metadata("timestamp.json"), &token).await;
    assert_eq!(metadata.bytes().await.unwrap(), branch.head_office.with(|s| s.fleet.files()["timestamp.json"].clone()));
    // Again: nothing is wanted, and what is here is not written over.
    let again: Imported = import(&branch, &carried).await.json().await.unwrap();
    assert_eq!(again.wants, []);
    // What was brought, and nothing of the read-only rest, is in the audit: the plan's row with the plan.
    let rows: Vec<_> = branch.audit().await.into_iter().map(|row| (row.who, row.action, row.after.unwrap())).collect();
    let [first, file, second] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((first.0.as_str(), first.1.as_str(), &first.2["new_plan"]), ("operator", "POST /v1/kit", &7.into()));
    assert_eq!((file.1.as_str(), &file.2["brought_bytes"]), ("PUT /v1/kit/artifacts/{sha256}", &length.into()));
    assert_eq!((second.1.as_str(), &second.2["new_plan"]), ("POST /v1/kit", &serde_json::Value::Null));
    assert_refused(bring(&branch, &fixture, fixture.file.clone()).await, Code::WrongState).await;
    assert_eq!(files(&branch), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_file_takes_the_place_of_what_the_link_brought_before_it_broke() {
    let (daemons, fixture) = (Daemons::start(), Fixture::new(2));
    let branch = cut_off(daemons.options()).await;
    branch.start_jobs();
    import(&branch, &kit(&branch, &names(&fixture, 7), &[&fixture])).await.error_for_status().unwrap();
    wait_for("the daemon to have its unfinished file", PATIENCE, async || {
        let listed = stage(&branch, &fixture).await == Some(Stage::Listed);
        let present = branch.app.engine.list().await.is_ok_and(|list| !list.is_empty());
        if listed && present { Ok(()) } else { Err("not yet") }
    })
    .await;
    assert_eq!(bring(&branch, &fixture, fixture.file.clone()).await.status(), StatusCode::NO_CONTENT);
    wait_for("the artifact to be held", PATIENCE, async || {
        if stage(&branch, &fixture).await == Some(Stage::Held) { Ok(()) } else { Err("not yet") }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_artifact_leaves_nothing_behind() {
    let fixture = Fixture::new(1);
    let branch = cut_off(Options::default()).await;
    assert_refused(bring(&branch, &fixture, fixture.file.clone()).await, Code::NotFound).await;
    import(&branch, &kit(&branch, &names(&fixture, 7), &[&fixture])).await.error_for_status().unwrap();
    let mut damaged = fixture.file.clone();
    damaged[1000] ^= 1;
    assert_refused(bring(&branch, &fixture, damaged).await, Code::NotAsPlanned).await;
    assert_refused(bring(&branch, &fixture, fixture.file[1..].to_vec()).await, Code::BadField).await;
    assert_refused(bring(&branch, &fixture, [&fixture.file[..], b"x"].concat()).await, Code::BadField).await;
    assert_eq!(files(&branch), 0);
    assert_eq!(stage(&branch, &fixture).await, Some(Stage::Described));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kit_is_judged_as_the_link_is() {
    let fixture = Fixture::new(1);
    let branch = cut_off(Options::default()).await;
    let genuine = kit(&branch, &names(&fixture, 7), &[&fixture]);
    let refused = async |kit: Kit, code: Code, said: &str| {
        let answer = import(&branch, &kit).await;
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert_eq!(status, code.status(), "{text}");
        assert!(text.contains(code.as_str()) && text.contains(said), "{said}: {text}");
        assert_eq!(kept(&branch).await, None, "{said}");
    };
    refused(Kit { branch: "south".parse().unwrap(), ..genuine.clone() }, Code::OtherBranch, "kit export north").await;
    refused(Kit { format: 2, ..genuine.clone() }, Code::BadField, "format").await;
    refused(Kit { metadata: BTreeMap::new(), ..genuine.clone() }, Code::KitRefused, "timestamp.json").await;
    let mut unsigned = genuine.clone();
    unsigned.plan.as_mut().unwrap().signatures.clear();
    refused(unsigned, Code::KitRefused, "plan").await;
    let elsewhere = Plan { branch: "south".parse().unwrap(), ..names(&fixture, 8) };
    let foreign = Kit { branch: "north".parse().unwrap(), ..kit(&branch, &elsewhere, &[&fixture]) };
    refused(foreign, Code::KitRefused, "south").await;
    // A stick that lay about for longer than its metadata lasts.
    let now = SystemClock.now();
    let stale = branch.head_office.with(|s| {
        s.fleet.publish_until(now - TimeDelta::days(9), now - TimeDelta::days(2)).unwrap();
        s.fleet.files()
    });
    let stale = stale.into_iter().map(|(name, bytes)| (name, Blob(bytes))).collect();
    refused(Kit { metadata: stale, ..genuine.clone() }, Code::KitRefused, "expired").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_plan_does_not_come_back_by_hand() {
    let fixture = Fixture::new(1);
    let branch = cut_off(Options::default()).await;
    let older = kit(&branch, &names(&fixture, 7), &[&fixture]);
    let newer = kit(&branch, &names(&fixture, 8), &[&fixture]);
    import(&branch, &newer).await.error_for_status().unwrap();
    let both = Kit { plan: older.plan, ..newer };
    assert_refused(import(&branch, &both).await, Code::KitRefused).await;
    assert_eq!(kept(&branch).await, Some(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_that_is_not_what_the_plan_names_is_refused() {
    let (fixture, other) = (Fixture::new(1), Fixture::new(2));
    let branch = cut_off(Options::default()).await;
    let genuine = kit(&branch, &names(&fixture, 7), &[&fixture]);
    let false_index = CarriedArtifact { index: Blob(other.index.clone()), ..artifact(&fixture) };
    assert_refused(import(&branch, &Kit { artifacts: vec![false_index], ..genuine.clone() }).await, Code::KitRefused)
        .await;
    let false_torrent = CarriedArtifact { torrent: Blob(other.torrent.clone()), ..artifact(&fixture) };
    assert_refused(import(&branch, &Kit { artifacts: vec![false_torrent], ..genuine }).await, Code::KitRefused).await;
    assert_eq!(stage(&branch, &fixture).await, Some(Stage::Wanted));
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_carried_back_and_wait_on_for_the_link() {
    let branch = cut_off(Options::default()).await;
    branch.enrol("till-1").await;
    let ask = async |after: u64| -> CarriedReports {
        let path = format!("{}?after={after}", paths::KIT_REPORTS);
        branch.get(branch.operators, &path, Some(OPERATOR)).await.json().await.unwrap()
    };
    let carried = ask(0).await;
    assert_eq!(carried.branch.as_str(), "north");
    let last = carried.batch.reports.last().expect("the terminal that enrolled").seq;
    assert_eq!(ask(last).await.batch.reports.len(), 0);
    assert_eq!(ask(0).await.batch.reports, carried.batch.reports, "carried reports do not change any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_operators_bring_kits_and_garbage_is_told_so() {
    let fixture = Fixture::new(1);
    let branch = cut_off(Options::default()).await;
    let body = serde_json::to_vec(&kit(&branch, &names(&fixture, 7), &[&fixture])).unwrap();
    let post =
        async |token: Option<&'static str>, body: Vec<u8>| branch.send(Method::POST, paths::KIT, token, body).await;
    assert_refused(post(None, body.clone()).await, Code::Unauthenticated).await;
    assert_refused(post(Some(VIEWER), body).await, Code::Forbidden).await;
    assert_refused(post(Some(OPERATOR), b"{}".to_vec()).await, Code::NotJson).await;
    assert_refused(post(Some(OPERATOR), vec![b' '; wire::v1::kit::MAX_KIT + 1]).await, Code::TooLarge).await;
    assert_refused(branch.get(branch.machines, paths::KIT_REPORTS, Some(OPERATOR)).await, Code::RouteMissing).await;
}
