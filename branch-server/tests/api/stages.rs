//! The stages of an artifact, with real daemons. No peers are needed: what the store holds before a torrent is added is
//! verified and kept.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use branch_server::artifacts::model::Stage;
use branch_server::artifacts::run::Runner;
use branch_server::db::{artifacts, manifests};
use chrono::{DateTime, TimeDelta, Utc};
use service_kit::Clock;
use service_kit::database::connection;
use swarm::Torrent;
use swarm::torrent::wan_tiers;
use test_kit::wait_for;
use wire::v1::paths;
use wire::v1::plan::Plan;
use wire::v1::reports::ReasonCode;
use wire::v1::sync::Sync;

use crate::daemons::{Daemons, Later, engine, publish, stage, store, told, wait_for_stage};
use crate::fixture::{Fixture, WAN_TRACKER};
use crate::plans::plan;
use crate::support::{Branch, Options, PATIENCE, write};

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_is_listed_added_to_both_swarms_and_offered_before_it_is_complete() {
    let (daemons, fixture) = (Daemons::start(), Fixture::new(1));
    let branch = Branch::start(daemons.options()).await;
    publish(&branch.head_office, 7, &[&fixture]);
    branch.start_jobs();
    wait_for_stage(&branch, &fixture, Some(Stage::Listed)).await;
    let token = branch.enrol("till-1").await;
    let hash = fixture.step.artifact.info_hash.to_string();

    let tiers = wait_for("the torrent in the daemon", PATIENCE, async || match daemons.trackers(&hash).await {
        trackers if trackers.is_empty() => Err("not there"),
        trackers => Ok(trackers),
    })
    .await;
    assert_eq!(tiers, [(0, WAN_TRACKER.to_owned()), (1, daemons.lan())]);
    let sync: Sync = branch.ask("/v1/sync", &token).await.json().await.unwrap();
    assert_eq!(sync.available, [fixture.step.artifact.sha256]);
    let lan = branch.ask(&paths::artifact_torrent(&fixture.step.artifact.sha256), &token).await;
    let lan = Torrent::parse(&lan.bytes().await.unwrap()).unwrap();
    assert_eq!(lan.tiers(), [[daemons.lan()]], "terminals learn of the branch's tracker only");
    assert_eq!(lan.info_hash(), fixture.step.artifact.info_hash);
    assert_eq!(branch.app.artifacts.tracker.read().unwrap(), BTreeSet::from([fixture.step.artifact.info_hash]));
    assert_eq!(branch.get(branch.operators, "/readyz", None).await.status(), 200);
}

/// Waits until the branch server has stored a look at its clock under `field`, at or after `at`.
pub async fn wait_for_clock(branch: &Branch, field: &str, at: DateTime<Utc>) {
    let file = branch.app.settings.state_folder.join("steady.json");
    wait_for("a look at the clock", PATIENCE, async || {
        let stored: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&file).unwrap_or_default()).unwrap_or_default();
        match stored[field].as_str().and_then(|text| text.parse::<DateTime<Utc>>().ok()) {
            Some(seen) if seen >= at => Ok(()),
            _ => Err(stored),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trackers_that_moved_are_followed_whatever_the_daemon_remembers() {
    let (daemons, fixture) = (Daemons::start(), Fixture::new(1));
    let branch = Branch::start(daemons.options()).await;
    publish(&branch.head_office, 7, &[&fixture]);
    branch.start_jobs();
    let hash = fixture.step.artifact.info_hash.to_string();
    let announces_at = async |wan: &str, lan: &str| {
        let expected = [(0, wan.to_owned()), (1, lan.to_owned())];
        wait_for("the trackers of today", PATIENCE, async || match daemons.trackers(&hash).await {
            trackers if trackers == expected => Ok(()),
            trackers => Err(format!("{trackers:?}")),
        })
        .await;
    };
    announces_at(WAN_TRACKER, &daemons.lan()).await;

    // The branch server has another address in its LAN; its daemon was not restarted.
    let moved = daemons.lan().replace("127.0.0.1", "localhost");
    let branch = branch.restart(Options { tracker_url: moved.clone(), ..daemons.options() }).await;
    branch.start_jobs();
    announces_at(WAN_TRACKER, &moved).await;

    // Head office's tracker has another one, and what is being fetched gets nowhere.
    // That torrent was kept once already, but the engine was away before it could be given it.
    let wan = "http://127.0.0.1:10/announce";
    let torrent = Torrent::parse(&fixture.torrent).unwrap().to_file(&wan_tiers(wan));
    let client = connection(&branch.app.pool).await.unwrap();
    assert!(artifacts::set_torrent(&client, &fixture.step.artifact.sha256, &torrent).await.unwrap());
    branch.head_office.serve(paths::artifact_torrent(&fixture.step.artifact.sha256), torrent);
    announces_at(wan, &moved).await;
}

/// The daemon remembers the whole file, finds nothing of it, and stops the torrent with an error.
#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_whose_file_is_gone_is_fetched_again_whatever_the_daemon_remembers() {
    let (mut daemons, fixture) = (Daemons::start(), Fixture::new(1));
    let branch = Branch::start(daemons.options()).await;
    write(&store(&branch, &fixture), &fixture.file);
    publish(&branch.head_office, 7, &[&fixture]);
    branch.start_jobs();
    wait_for_stage(&branch, &fixture, Some(Stage::Held)).await;
    daemons.stop_engine();
    std::fs::remove_file(store(&branch, &fixture)).unwrap();
    daemons.start_engine();
    wait_for_stage(&branch, &fixture, Some(Stage::Listed)).await;
    wait_for("the loss to be reported, and that it is being fetched", PATIENCE, async || {
        let artifact = branch.status().await["branches"][0]["artifacts"][0].clone();
        match told(&branch, &fixture).last() {
            Some((false, _)) if artifact["have_bytes"] == 0 && artifact["complete"] == false => Ok(()),
            last => Err(format!("{last:?} {artifact}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_file_is_hashed_held_reported_and_dropped_after_the_retention() {
    let (daemons, fixture, next) = (Daemons::start(), Fixture::new(1), Fixture::new(2));
    let clock = Arc::new(Later::default());
    let branch = Branch::start(Options { clock: clock.clone(), ..daemons.options() }).await;
    write(&store(&branch, &fixture), &fixture.file);
    publish(&branch.head_office, 7, &[&fixture]);
    branch.start_jobs();
    wait_for_stage(&branch, &fixture, Some(Stage::Held)).await;
    wait_for("the report", PATIENCE, async || match told(&branch, &fixture).last() {
        Some((true, None)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    publish(&branch.head_office, 8, &[&next]);
    wait_for_stage(&branch, &next, Some(Stage::Listed)).await;
    assert_eq!(stage(&branch, &fixture).await, Some(Stage::Held), "kept for the retention");
    // A clock that jumps drops nothing: the retention begins again.
    clock.advance(TimeDelta::days(4_000));
    let jumped = clock.now();
    wait_for_clock(&branch, "since", jumped).await;
    for _ in 0..2 {
        clock.advance(TimeDelta::hours(35));
        let now = clock.now();
        wait_for_clock(&branch, "seen", now).await;
        assert_eq!(stage(&branch, &fixture).await, Some(Stage::Held), "kept for the retention after a jump");
    }
    clock.advance(TimeDelta::hours(3));
    wait_for_stage(&branch, &fixture, None).await;
    assert!(!store(&branch, &fixture).exists());
    assert_eq!(branch.app.artifacts.tracker.read().unwrap(), BTreeSet::from([next.step.artifact.info_hash]));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_lost_torrents_and_a_lost_access_list_come_back() {
    let (mut daemons, fixture) = (Daemons::start(), Fixture::new(1));
    let branch = Branch::start(daemons.options()).await;
    write(&store(&branch, &fixture), &fixture.file);
    publish(&branch.head_office, 7, &[&fixture]);
    branch.start_jobs();
    wait_for_stage(&branch, &fixture, Some(Stage::Held)).await;

    // Both daemons forget everything, and one has a torrent that nobody knows.
    let stranger = Fixture::new(9);
    branch.shutdown.stop();
    std::fs::remove_dir_all(daemons.path("config")).unwrap();
    std::fs::create_dir(daemons.path("config")).unwrap();
    write(&daemons.path("access.list"), "");
    daemons.start_engine();
    daemons.start_tracker();
    let engine = engine(&branch.app.settings);
    let add = async || engine.add(&stranger.torrent, daemons.dir.path()).await.map_err(|e| e.to_string());
    wait_for("the daemon", PATIENCE, add).await;

    let branch = branch.restart(daemons.options()).await;
    branch.start_jobs();
    let expected = vec![fixture.step.artifact.info_hash];
    wait_for("the torrent, and only that", PATIENCE, async || match engine.list().await {
        Ok(list) if list == expected => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(branch.app.artifacts.tracker.read().unwrap(), BTreeSet::from([fixture.step.artifact.info_hash]));
    assert_eq!(stage(&branch, &fixture).await, Some(Stage::Held));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_at_any_stage_is_finished_by_the_next_start() {
    let (daemons, fixture) = (Daemons::start(), Fixture::new(1));
    let mut branch = Branch::start(daemons.options()).await;
    publish(&branch.head_office, 7, &[&fixture]);
    branch.app.poll.once().await.unwrap();
    wait_for("the daemon", PATIENCE, async || branch.app.engine.info().await.map_err(|e| e.to_string())).await;
    let wanted =
        branch_server::artifacts::model::wanted(&Plan { steps: vec![fixture.step.clone()], ..plan(7) }).remove(0);
    let sha256 = wanted.artifact.sha256;
    for stage in [Stage::Wanted, Stage::Described, Stage::Listed, Stage::Held, Stage::Dropping] {
        // As it lies there after a power loss: the stage is recorded, the daemon and the list know nothing of it.
        branch.app.engine.remove(&wanted.artifact.info_hash, true).await.unwrap();
        write(&daemons.path("access.list"), "");
        write(&store(&branch, &fixture), &fixture.file);
        let client = connection(&branch.app.pool).await.unwrap();
        artifacts::delete(&client, &sha256).await.unwrap();
        artifacts::insert(&client, &wanted).await.unwrap();
        if stage != Stage::Wanted {
            manifests::insert(&client, &wanted.manifest, &fixture.manifest).await.unwrap();
            artifacts::describe(&client, &sha256, &fixture.index, &fixture.torrent).await.unwrap();
            artifacts::set_stage(&client, &sha256, Stage::Described, stage).await.unwrap();
        }
        drop(client);
        branch = branch.restart(daemons.options()).await;
        let mut runner = Runner::new(branch.app.artifacts.clone());
        runner.pass().await.unwrap();
        if stage == Stage::Dropping {
            assert!(!store(&branch, &fixture).exists() && artifact_is_gone(&branch, &fixture).await);
            continue;
        }
        wait_for(&format!("held after {stage:?}"), PATIENCE, async || {
            runner.pass().await.map_err(|e| e.to_string())?;
            let seeded = branch.app.engine.list().await.map_err(|e| e.to_string())?;
            let found = self::stage(&branch, &fixture).await;
            let done = found == Some(Stage::Held) && seeded == [wanted.artifact.info_hash];
            if done { Ok(()) } else { Err(format!("{found:?} {seeded:?}")) }
        })
        .await;
        assert_eq!(branch.app.artifacts.tracker.read().unwrap(), BTreeSet::from([wanted.artifact.info_hash]));
    }
}

async fn artifact_is_gone(branch: &Branch, fixture: &Fixture) -> bool {
    let seeded = branch.app.engine.list().await.unwrap();
    stage(branch, fixture).await.is_none()
        && seeded.is_empty()
        && branch.app.artifacts.tracker.read().unwrap().is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_release_of_the_same_artifact_brings_its_manifest_and_fetches_nothing_twice() {
    let (daemons, first) = (Daemons::start(), Fixture::new(1));
    let mut second = Fixture::new(1);
    second.manifest = b"format = 1\n# other notes\n".to_vec();
    second.step.manifest = Fixture::digest_of(&second.manifest);
    second.step.version = fleet_types::Version::new(1, 0, 2);
    let branch = Branch::start(daemons.options()).await;
    write(&store(&branch, &first), &first.file);
    publish(&branch.head_office, 7, &[&first]);
    branch.start_jobs();
    wait_for_stage(&branch, &first, Some(Stage::Held)).await;
    let token = branch.enrol("till-1").await;
    publish(&branch.head_office, 8, &[&second]);
    let path = paths::manifest(&second.step.manifest);
    wait_for("the second manifest", PATIENCE, async || match branch.ask(&path, &token).await {
        response if response.status() == 200 => Ok(()),
        response => Err(response.status()),
    })
    .await;
    let sync: Sync = branch.ask("/v1/sync", &token).await.json().await.unwrap();
    assert_eq!(sync.available, [second.step.artifact.sha256]);
    assert_eq!(stage(&branch, &second).await, Some(Stage::Held));
    let artifact = &branch.status().await["branches"][0]["artifacts"][0];
    assert_eq!(artifact["version"], "1.0.2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_what_the_plan_names_is_verified_dropped_and_fetched_again() {
    let (daemons, fixture) = (Daemons::start(), Fixture::with_false_digest(1));
    let branch = Branch::start(daemons.options()).await;
    write(&store(&branch, &fixture), &fixture.file);
    publish(&branch.head_office, 7, &[&fixture]);
    branch.start_jobs();
    wait_for("both troubles", Duration::from_secs(90), async || {
        let told = told(&branch, &fixture);
        let says = |code: ReasonCode, what: &str| {
            let reasons = told.iter().filter_map(|(_, t)| t.as_ref());
            reasons.into_iter().any(|t| t.code == code && t.sentence().contains(what))
        };
        let both = says(ReasonCode::MismatchVerified, "being verified piece by piece")
            && says(ReasonCode::MismatchDropped, "It was dropped and will be fetched again");
        if both { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    assert!(!store(&branch, &fixture).exists(), "the wrong file is gone");
    assert!(told(&branch, &fixture).iter().all(|(complete, _)| !complete), "it was never called complete");
    let artifact = &branch.status().await["branches"][0]["artifacts"][0];
    assert_eq!((&artifact["complete"], &artifact["have_bytes"]), (&false.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_under_a_held_artifact_is_seen_when_the_daemon_looks_again() {
    let (daemons, fixture) = (Daemons::start(), Fixture::new(1));
    let branch = Branch::start(daemons.options()).await;
    write(&store(&branch, &fixture), &fixture.file);
    publish(&branch.head_office, 7, &[&fixture]);
    branch.start_jobs();
    wait_for_stage(&branch, &fixture, Some(Stage::Held)).await;
    flip(&store(&branch, &fixture));
    branch.app.engine.verify(&fixture.step.artifact.info_hash).await.unwrap();
    wait_for_stage(&branch, &fixture, Some(Stage::Listed)).await;
    wait_for("the trouble", PATIENCE, async || match told(&branch, &fixture).last() {
        Some((false, Some(_))) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

fn flip(path: &Path) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 1000).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_daemons_it_says_so_and_goes_on_once_they_are_there() {
    let (mut daemons, fixture) = (Daemons::start(), Fixture::new(1));
    (daemons.engine, daemons.tracker) = (None, None);
    let branch = Branch::start(daemons.options()).await;
    publish(&branch.head_office, 7, &[&fixture]);
    branch.start_jobs();
    wait_for("the trouble", PATIENCE, async || match told(&branch, &fixture).last() {
        Some((false, Some(_))) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_ne!(stage(&branch, &fixture).await, Some(Stage::Listed), "not offered while the tracker refuses it");
    daemons.start_engine();
    daemons.start_tracker();
    wait_for_stage(&branch, &fixture, Some(Stage::Listed)).await;
    let hash = fixture.step.artifact.info_hash.to_string();
    wait_for("the torrent in the daemon", PATIENCE, async || match daemons.trackers(&hash).await {
        trackers if trackers.is_empty() => Err("not there"),
        _ => Ok(()),
    })
    .await;
}
