//! Removal of artifacts that are no longer needed, with the real transmission-daemon and opentracker.

use chrono::TimeDelta;
use fleet_types::ReleaseState;
use reqwest::Method;
use serde_json::json;
use service_kit::Clock;
use service_kit::client::ClientError;
use service_kit::database::connection;
use service_kit::server::Role;
use test_kit::wait_for;
use uuid::Uuid;
use wire::v1::fleet::PlanIssued;
use wire::v1::plan::ArtifactRef;
use wire::v1::releases::{Release, Withdrawn};
use wire::v1::status::Status;
use wire::{Code, ReasonCode};

use crate::api::refusal;
use crate::support::archive::{Recipe, pack};
use crate::support::daemons::Daemons;
use crate::support::tus::upload;
use crate::support::{Office, PATIENCE, count, published, status_of};

async fn publish(office: &Office, recipe: &Recipe<'_>) -> Release {
    let file = pack(office.dir.path(), recipe);
    let id = upload(&office.as_role(Role::ReleaseManager), &std::fs::read(file).unwrap()).await;
    office.wait_for_state(id, ReleaseState::Published).await
}

/// The real daemons, a head office with one branch, and a release that is published there.
async fn published_once() -> (Daemons, Office, Release) {
    let daemons = Daemons::start();
    let office = Office::with(|settings| daemons.apply_to(settings)).await;
    office.branch("north", "kiosk-x86", &["till-1"]).await;
    let release = publish(&office, &Recipe::default()).await;
    (daemons, office, release)
}

async fn withdraw(office: &Office, id: Uuid) -> Withdrawn {
    let path = format!("/v1/releases/{id}/withdraw");
    office.admin().post(&path, &json!({ "reason": "Receipts print twice." })).await.unwrap()
}

async fn assign(office: &Office, version: &str) -> PlanIssued {
    let body = json!({ "branch": "north", "product": "kiosk", "version": version });
    office.admin().post("/v1/assignments", &body).await.unwrap()
}

fn artifact(release: &Release) -> ArtifactRef {
    release.payloads[0].artifact.clone().unwrap()
}

fn file(office: &Office, artifact: &ArtifactRef) -> std::path::PathBuf {
    office.dir.path().join("store/artifacts").join(artifact.file_name())
}

/// Gone everywhere: daemon, tracker, disk, database.
async fn wait_until_gone(office: &Office, daemons: &Daemons, artifact: &ArtifactRef) {
    let engine = office.settings.engine.open().unwrap();
    let pool = office.pool().await;
    wait_for("the artifact to be put away", PATIENCE, async || {
        // In this order: what is not listed any more must have been dropped before.
        let listed = daemons.listed().contains(&artifact.info_hash.to_string());
        let seeded = engine.list().await.map_err(|e| e.to_string())?.contains(&artifact.info_hash);
        let rows = count(&pool, "SELECT count(*) FROM artifacts").await;
        assert!(listed || !seeded, "seeded, and the tracker refuses it");
        match (seeded, listed, file(office, artifact).exists(), rows) {
            (false, false, false, 0) => Ok(()),
            other => Err(format!("seeded, listed, on disk, rows: {other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_release_is_seeded_for_three_days_after_its_last_plan_and_then_put_away() {
    let (daemons, mut office, release) = published_once().await;
    let artifact = artifact(&release);
    assign(&office, "1.0.0").await;
    office.clock.advance(TimeDelta::days(10));
    // So long a step counts as a jump: ages begin with the first look after it.
    office.stop().await;
    office.resume().await;
    wait_for_retention(&office).await;
    withdraw(&office, release.id).await;
    for hours in [35, 35, 1] {
        office.clock.advance(TimeDelta::hours(hours));
        office.stop().await;
        office.resume().await;
    }
    let engine = office.settings.engine.open().unwrap();
    assert!(engine.status(&artifact.info_hash).await.unwrap().unwrap().complete);
    assert!(file(&office, &artifact).exists() && daemons.listed() == [artifact.info_hash.to_string()]);
    // A branch is told of no more than what its plan names.
    let path = format!("/v1/artifacts/{}/index", artifact.sha256);
    assert_eq!(status_of(&office.admin(), Method::GET, &path).await, 404);

    office.clock.advance(TimeDelta::hours(2));
    office.stop().await;
    office.resume().await;
    wait_until_gone(&office, &daemons, &artifact).await;
    let shown = office.release(release.id).await;
    assert_eq!((shown.state, shown.payloads[0].artifact.clone()), (ReleaseState::Withdrawn, None));

    // The same version once more, with the same payload.
    let again = publish(&office, &Recipe::default()).await;
    assert_eq!(again.payloads[0].artifact.as_ref(), Some(&artifact));
    assert!(engine.status(&artifact.info_hash).await.unwrap().unwrap().complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_puts_nothing_away() {
    let (daemons, mut office, release) = published_once().await;
    let artifact = artifact(&release);
    assign(&office, "1.0.0").await;
    withdraw(&office, release.id).await;
    let engine = office.settings.engine.open().unwrap();
    // As after a start with an empty battery: from 2026 to 2069. Afterwards the full time runs once more.
    for days in [43 * 365, 1, 1] {
        office.clock.advance(TimeDelta::days(days));
        office.stop().await;
        office.resume().await;
        wait_for_retention(&office).await;
        assert!(file(&office, &artifact).exists(), "put away after a jump of {days} days");
        assert!(engine.status(&artifact.info_hash).await.unwrap().unwrap().complete);
    }
    office.clock.advance(TimeDelta::hours(25));
    office.stop().await;
    office.resume().await;
    wait_until_gone(&office, &daemons, &artifact).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_corrected_backwards_puts_nothing_away_early() {
    let (_daemons, mut office, release) = published_once().await;
    assign(&office, "1.0.0").await;
    // The clock has run without a jump for longer than artifacts are kept.
    for _ in 0..3 {
        office.clock.advance(TimeDelta::hours(35));
        office.stop().await;
        office.resume().await;
        wait_for_retention(&office).await;
    }
    withdraw(&office, release.id).await;
    office.clock.advance(TimeDelta::hours(-2));
    office.stop().await;
    office.resume().await;
    wait_for_retention(&office).await;
    assert!(file(&office, &artifact(&release)).exists(), "its last plan ends in two hours");
}

/// Waits until the task has run since the start.
async fn wait_for_retention(office: &Office) {
    wait_for("a run of the task", PATIENCE, async || {
        let status: Status = office.admin().get("/v1/status").await.map_err(|e| e.to_string())?;
        let task = status.background.into_iter().find(|task| task.name == "retention");
        task.and_then(|task| task.last).map(drop).ok_or_else(|| "none yet".to_owned())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_release_has_or_no_plan_ever_named_is_told_apart() {
    let (daemons, office, first) = published_once().await;
    let second = publish(&office, &Recipe { version: "1.1.0", ..Recipe::default() }).await;
    assert_eq!(artifact(&first), artifact(&second), "one payload, one artifact");
    withdraw(&office, first.id).await;
    let engine = office.settings.engine.open().unwrap();
    assert!(engine.status(&artifact(&second).info_hash).await.unwrap().unwrap().complete);
    // No plan ever named it: it need not wait.
    withdraw(&office, second.id).await;
    wait_until_gone(&office, &daemons, &artifact(&second)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn putting_away_goes_on_after_a_daemon_that_was_away() {
    let (mut daemons, mut office, release) = published_once().await;
    daemons.engine = None;
    withdraw(&office, release.id).await;
    let pool = office.pool().await;
    wait_for("the decision", PATIENCE, async || {
        match count(&pool, "SELECT count(*) FROM artifacts WHERE stage = 'leaving'").await {
            1 => Ok(()),
            n => Err(n),
        }
    })
    .await;
    // It may still be seeded by the daemon once that is back: the tracker goes on accepting it, and its file stays.
    assert_eq!(daemons.listed(), [artifact(&release).info_hash.to_string()]);
    assert!(file(&office, &artifact(&release)).exists());
    office.stop().await;
    daemons.start_engine();
    let engine = office.settings.engine.open().unwrap();
    wait_for("the daemon to remember its torrent", PATIENCE, async || {
        let seeded = engine.list().await.map_err(|e| e.to_string())?;
        if seeded.contains(&artifact(&release).info_hash) { Ok(()) } else { Err(format!("{seeded:?}")) }
    })
    .await;
    office.resume().await;
    wait_until_gone(&office, &daemons, &artifact(&release)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torrent_that_no_record_knows_is_taken_out_of_the_daemon() {
    let (_daemons, mut office, release) = published_once().await;
    office.stop().await;
    let pool = office.pool().await;
    for change in ["UPDATE payloads SET artifact_sha256 = NULL", "DELETE FROM artifacts"] {
        pool.get().await.unwrap().execute(change, &[]).await.unwrap();
    }
    office.resume().await;
    let engine = office.settings.engine.open().unwrap();
    wait_for("the stray to be taken out", PATIENCE, async || {
        let seeded = engine.list().await.map_err(|e| e.to_string())?;
        if seeded.is_empty() { Ok(()) } else { Err(format!("{seeded:?} of {:?}", artifact(&release).info_hash)) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_is_used_up_makes_room_of_withdrawn_releases_or_refuses() {
    let daemons = Daemons::start();
    let archive = std::fs::metadata(pack(daemons.dir.path(), &Recipe::default())).unwrap().len();
    // Room for one artifact and one archive that becomes one.
    let budget = archive * 3;
    let office = Office::with(|settings| {
        daemons.apply_to(settings);
        settings.store.budget_bytes = Some(budget);
    })
    .await;
    office.branch("north", "kiosk-x86", &["till-1"]).await;
    let first = publish(&office, &Recipe::default()).await;
    assign(&office, "1.0.0").await;
    let second = publish(&office, &Recipe { version: "1.1.0", length: 300_001, ..Recipe::default() }).await;
    let create = async || -> Result<reqwest::Response, ClientError> {
        let manager = office.as_role(Role::ReleaseManager);
        let request = manager.request(Method::POST, "/v1/uploads").header("Tus-Resumable", "1.0.0");
        manager.send(request.header("Upload-Length", archive), "/v1/uploads").await
    };
    let refused = create().await;
    let text = refused.as_ref().unwrap_err().to_string();
    assert!(text.contains(&fleet_types::size(budget)) && text.contains("Withdraw"), "{text}");
    assert_eq!(refusal(refused), Code::DiskFull);
    // What a plan names and what is published stays; what was withdrawn goes early.
    assign(&office, "1.1.0").await;
    withdraw(&office, first.id).await;
    assert!(file(&office, &artifact(&first)).exists());
    create().await.unwrap();
    assert!(!file(&office, &artifact(&first)).exists() && file(&office, &artifact(&second)).exists());
    assert_eq!(daemons.listed(), [artifact(&second).info_hash.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn store_and_database_are_compared_at_start() {
    let mut office = Office::start().await;
    let lost = published(&office, "kiosk", "2.0.0", "k1").await;
    let folder = office.dir.path().join("store");
    let unknown = format!("artifacts/{}.seg", "ab".repeat(32));
    let leftovers = [unknown.as_str(), &format!("work/{}.seg", "cd".repeat(32)), "artifacts/notes.txt"];
    for name in leftovers {
        std::fs::write(folder.join(name), b"?").unwrap();
    }
    // The clock says 2030: those files are old, once it has run for the whole time. What is not named as ours are stays.
    for hours in [35, 35, 3] {
        assert!(folder.join(&unknown).exists(), "removed by a clock that was only just set");
        office.clock.advance(TimeDelta::hours(hours));
        office.stop().await;
        office.resume().await;
    }
    assert_eq!(leftovers.map(|name| folder.join(name).exists()), [false, false, true]);
    let said =
        async |office: &Office| office.admin().get::<Vec<Release>>("/v1/releases").await.unwrap()[0].reasons.pop();
    let reason = said(&office).await.unwrap();
    assert_eq!(reason.code, ReasonCode::StoreFileMissing);
    assert_eq!(reason.params.get("file"), Some(lost.file_name().as_str()));
    let reason = reason.sentence();
    assert!(reason.contains(&lost.file_name()) && reason.contains("is missing"), "{reason}");
    assert!(reason.contains("withdraw the release"), "{reason}");
    std::fs::write(folder.join("artifacts").join(lost.file_name()), vec![0; 999]).unwrap();
    office.stop().await;
    office.resume().await;
    let cut = said(&office).await.unwrap();
    assert!(
        cut.code == ReasonCode::StoreFileCut && cut.sentence().contains("has 999 bytes instead of 1000"),
        "{cut:?}"
    );
    std::fs::write(folder.join("artifacts").join(lost.file_name()), vec![0; 1000]).unwrap();
    office.stop().await;
    office.resume().await;
    assert_eq!(said(&office).await, None);
    // Young ones stay: with the wrong database everything would look unknown.
    office.stop().await;
    let young = std::fs::File::create(folder.join(&unknown)).unwrap();
    young.set_modified(office.clock.now().into()).unwrap();
    office.resume().await;
    assert!(folder.join(&unknown).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_artifact_is_told_beside_a_whole_one_of_the_same_release() {
    let mut office = Office::start().await;
    let one = published(&office, "kiosk", "2.0.0", "k1").await;
    let other = published(&office, "tools", "1.0.0", "k1").await;
    let move_payload = "UPDATE payloads SET position = 1, name = 'second',
        release_id = (SELECT id FROM releases WHERE product = 'kiosk') WHERE artifact_sha256 = $1";
    let pool = office.pool().await;
    connection(&pool).await.unwrap().execute(move_payload, &[&other.sha256.to_string()]).await.unwrap();
    let artifacts = office.dir.path().join("store/artifacts");
    for (missing, whole) in [(&one, &other), (&other, &one)] {
        std::fs::write(artifacts.join(whole.file_name()), vec![0; 1000]).unwrap();
        if artifacts.join(missing.file_name()).exists() {
            std::fs::remove_file(artifacts.join(missing.file_name())).unwrap();
        }
        // The second start knows what the first one told.
        for start in 1..=2 {
            office.stop().await;
            office.resume().await;
            let releases: Vec<Release> = office.admin().get("/v1/releases").await.unwrap();
            let kiosk = releases.iter().find(|r| r.product.as_ref().is_some_and(|p| p.as_str() == "kiosk")).unwrap();
            let told: Vec<_> = kiosk.reasons.iter().map(|r| (&r.code, r.params.get("file"))).collect();
            let expected = (&ReasonCode::StoreFileMissing, Some(missing.file_name()));
            assert_eq!(told, [(expected.0, expected.1.as_deref())], "start {start}");
        }
    }
}
