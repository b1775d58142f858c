//! From an upload to a plan, with the real transmission-daemon and opentracker.

use artifact::{Index, PayloadId};
use fleet_types::ReleaseState;
use serde_json::json;
use service_kit::Clock as _;
use service_kit::server::Role;
use swarm::Torrent;
use test_kit::wait_for;
use wire::v1::fleet::PlanIssued;
use wire::v1::paths;
use wire::v1::plan::Plan;
use wire::v1::releases::Release;
use wire::v1::sync::Sync;
use wire::{PLAN_PAYLOAD_TYPE, ReasonCode};

use crate::support::archive::{Recipe, image, pack};
use crate::support::daemons::Daemons;
use crate::support::trust::{Machine, holders_sign_again};
use crate::support::tus::upload;
use crate::support::{Office, PATIENCE, begin};

async fn publish(office: &Office, recipe: &Recipe<'_>) -> Release {
    let file = pack(office.dir.path(), recipe);
    let id = upload(&office.as_role(Role::ReleaseManager), &std::fs::read(file).unwrap()).await;
    office.wait_for_state(id, ReleaseState::Published).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_goes_from_the_upload_to_the_branch_by_itself() {
    let daemons = Daemons::start();
    let office = Office::with(|settings| daemons.apply_to(settings)).await;
    let branch = office.branch("north", "kiosk-x86", &["till-1"]).await;
    let release = publish(&office, &Recipe::default()).await;
    assert!(release.report.unwrap().findings.iter().all(|f| f.verdict == wire::v1::releases::Verdict::Pass));
    assert_eq!((release.reasons, release.progress), (vec![], None));
    let payload = release.payloads[0].payload.clone();
    let artifact = release.payloads[0].artifact.clone().unwrap();

    // Listed, seeded from the store, complete.
    assert_eq!(daemons.listed(), [artifact.info_hash.to_string()]);
    let engine = office.settings.engine.open().unwrap();
    let status = engine.status(&artifact.info_hash).await.unwrap().unwrap();
    assert!(status.complete && status.total_bytes == artifact.length, "{status:?}");

    // The branch gets plan, manifest, index and torrent, and they agree.
    let body = json!({ "branch": "north", "product": "kiosk", "version": "1.0.0" });
    office.admin().post::<_, PlanIssued>("/v1/assignments", &body).await.unwrap();
    let sync: Sync = branch.client.get("/v1/sync").await.unwrap();
    let plan: Plan = sync.plan.unwrap().open(PLAN_PAYLOAD_TYPE).unwrap();
    assert_eq!((&plan.steps[0].artifact, &plan.steps[0].payload), (&artifact, &payload));
    let manifest = branch.client.get_bytes(&paths::manifest(&plan.steps[0].manifest), 1 << 20).await.unwrap();
    assert_eq!(release::Manifest::parse(&manifest).unwrap().version.to_string(), "1.0.0");
    let torrent = branch.client.get_bytes(&paths::artifact_torrent(&artifact.sha256), 1 << 20).await.unwrap();
    let torrent = Torrent::parse(&torrent).unwrap();
    assert_eq!((torrent.info_hash(), torrent.name()), (artifact.info_hash, &*artifact.file_name()));
    assert_eq!(torrent.tiers(), [[daemons.announce_url()]]);
    let bytes = branch.client.get_bytes(&paths::artifact_index(&artifact.sha256), 1 << 20).await.unwrap();
    let id = PayloadId { sha256: payload.sha256, length: payload.length };
    let index = Index::parse(&bytes, id).unwrap();

    // Signed metadata vouches for it, as a machine sees that knows nothing but the root.
    let mut machine = Machine::new(&office.trust(), office.as_branch(&branch));
    machine.update(begin()).await.unwrap();
    let trusted = machine.client.trusted().unwrap();
    trusted.check_step(&plan.steps[0], begin()).unwrap();
    trusted.check_artifacts(&plan.steps[0], begin()).unwrap();

    // What lies in the store decodes to the image that was packed.
    let file = std::fs::read(office.dir.path().join("store/artifacts").join(artifact.file_name())).unwrap();
    let mut decoded = Vec::new();
    for segment in index.segments() {
        let mut out = Vec::new();
        let begin = segment.frame_offset as usize;
        index.decode(segment.number, &file[begin..begin + segment.frame_length as usize], &mut out).unwrap();
        decoded.extend(out);
    }
    assert!(decoded == image(300_000, true, 0xff));

    // Nothing else is left.
    for folder in ["uploads", "work"] {
        wait_for("the archive and the work to be removed", PATIENCE, async || {
            let left: Vec<_> = std::fs::read_dir(office.dir.path().join("store").join(folder)).unwrap().collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_forgot_everything_is_given_it_again_at_the_next_start() {
    let mut daemons = Daemons::start();
    let mut office = Office::with(|settings| daemons.apply_to(settings)).await;
    office.branch("north", "kiosk-x86", &["till-1"]).await;
    let release = publish(&office, &Recipe::default()).await;
    let hash = release.payloads[0].artifact.as_ref().unwrap().info_hash;
    office.stop().await;
    daemons.restart_engine_without_memory();
    std::fs::write(daemons.access_list(), "").unwrap();
    office.resume().await;
    let engine = office.settings.engine.open().unwrap();
    wait_for("the torrent to be seeded again", PATIENCE, async || match engine.status(&hash).await {
        Ok(Some(status)) if status.complete && !status.verifying => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(daemons.listed(), [hash.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_payload_in_two_releases_is_one_artifact() {
    let daemons = Daemons::start();
    let office = Office::with(|settings| daemons.apply_to(settings)).await;
    office.branch("north", "kiosk-x86", &["till-1"]).await;
    let first = publish(&office, &Recipe::default()).await;
    let second = publish(&office, &Recipe { version: "1.1.0", ..Recipe::default() }).await;
    assert_eq!(first.payloads[0].artifact, second.payloads[0].artifact);
    assert_ne!(first.manifest, second.manifest);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_listed_or_shown_before_the_metadata_that_vouches_for_it_is_published() {
    let daemons = Daemons::start();
    let office = Office::with(|settings| daemons.apply_to(settings)).await;
    office.branch("north", "kiosk-x86", &["till-1"]).await;
    // The root expired: until its holders sign it again, nothing can be published.
    office.clock.advance(chrono::TimeDelta::days(3651));
    let file = pack(office.dir.path(), &Recipe::default());
    let id = upload(&office.as_role(Role::ReleaseManager), &std::fs::read(file).unwrap()).await;
    let release = wait_for("a reason", PATIENCE, async || {
        let release = office.release(id).await;
        match release.reason(ReasonCode::PublishingRetried) {
            Some(reason) if reason.sentence().contains("Role root expired") => Ok(release),
            _ => Err(format!("{release:?}")),
        }
    })
    .await;
    assert_eq!(release.state, ReleaseState::Publishing);
    let artifact = release.payloads[0].artifact.clone().unwrap();
    assert!(!daemons.listed().contains(&artifact.info_hash.to_string()));
    let engine = office.settings.engine.open().unwrap();
    assert!(engine.status(&artifact.info_hash).await.unwrap().is_none());
    let body = json!({ "branch": "north", "product": "kiosk", "version": "1.0.0" });
    let refused = office.admin().post::<_, PlanIssued>("/v1/assignments", &body).await;
    assert_eq!(crate::api::refusal(refused), wire::Code::NotPublished);
    // Once its holders signed it again, elsewhere, everything goes on by itself.
    holders_sign_again(&office.trust(), office.clock.now());
    office.clock.advance(chrono::TimeDelta::minutes(10));
    office.wait_for_state(id, ReleaseState::Published).await;
}
