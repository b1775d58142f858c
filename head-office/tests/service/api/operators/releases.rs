use fleet_types::ReleaseState;
use reqwest::Method;
use serde_json::json;
use service_kit::database::connection;
use service_kit::server::Role;
use uuid::Uuid;
use wire::v1::releases::{Release, Verdict};
use wire::{Code, ReasonCode};

use crate::api::refusal;
use crate::support::archive::{Recipe, pack};
use crate::support::tus::upload;
use crate::support::{Office, published, status_of};

async fn uploaded(office: &Office, recipe: &Recipe<'_>) -> Uuid {
    let file = pack(office.dir.path(), recipe);
    upload(&office.as_role(Role::ReleaseManager), &std::fs::read(file).unwrap()).await
}

fn failed(release: &Release) -> Vec<&str> {
    let findings = &release.report.as_ref().unwrap().findings;
    findings.iter().filter(|f| f.verdict != Verdict::Pass).map(|f| f.id.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_breaks_rules_is_rejected_with_all_of_them_named() {
    let office = Office::start().await;
    office.branch("north", "kiosk-x86", &["till-1"]).await;
    let recipe = Recipe { model: "unheard-of", notes: "", image_is_sound: false, ..Recipe::default() };
    let id = uploaded(&office, &recipe).await;
    let release = office.wait_for_state(id, ReleaseState::Rejected).await;
    let rules = failed(&release);
    for rule in ["image-magic", "compatible-known", "notes-present"] {
        assert!(rules.contains(&rule), "{rule} is missing in {rules:?}");
    }
    assert_eq!(release.product.unwrap().as_str(), "kiosk");
    let archive = office.dir.path().join(format!("store/uploads/{id}.upd"));
    test_kit::wait_for("the archive to be removed", crate::support::PATIENCE, async || {
        if archive.exists() { Err("it is there") } else { Ok(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_fits_no_slot_and_an_old_version_are_rejected() {
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "kiosk-x86").await;
    let mut branch = office.branch("north", "kiosk-x86", &[]).await;
    let mut facts = crate::support::facts("till-1", "kiosk-x86");
    facts.slot_bytes = 100_000;
    branch.report(wire::v1::reports::Report::TerminalSeen { facts, key: None }).await;
    let id = uploaded(&office, &Recipe { version: "1.9.0", ..Recipe::default() }).await;
    let release = office.wait_for_state(id, ReleaseState::Rejected).await;
    assert_eq!(failed(&release), ["version-newer", "fits-slot"]);
    let finding = &release.report.unwrap().findings.into_iter().find(|f| f.id == "fits-slot").unwrap();
    assert!(finding.cause.contains("north/till-1"), "{}", finding.cause);
}

/// The attack: one terminal says that it has a tiny slot. It is named, and once it is denied nothing of it counts.
#[tokio::test(flavor = "multi_thread")]
async fn one_terminals_false_slot_stops_its_model_only_until_it_is_denied() {
    let office = Office::start().await;
    let mut branch = office.branch("north", "kiosk-x86", &["till-1"]).await;
    let mut facts = crate::support::facts("till-2", "kiosk-x86");
    facts.slot_bytes = 1;
    branch.report(wire::v1::reports::Report::TerminalSeen { facts, key: None }).await;
    let refused = uploaded(&office, &Recipe::default()).await;
    let release = office.wait_for_state(refused, ReleaseState::Rejected).await;
    assert_eq!(failed(&release), ["fits-slot"]);
    let finding = &release.report.unwrap().findings.into_iter().find(|f| f.id == "fits-slot").unwrap();
    assert!(finding.cause.contains("north/till-2 with 1 byte)"), "{}", finding.cause);
    assert!(!finding.cause.contains("till-1") && finding.remedy.contains("filial terminal deny"), "{finding:?}");
    let terminal = "till-2".parse().unwrap();
    branch.report(wire::v1::reports::Report::TerminalDenied { terminal, denied: true }).await;
    let taken = uploaded(&office, &Recipe::default()).await;
    test_kit::wait_for("the release to pass", crate::support::PATIENCE, async || {
        let release = office.release(taken).await;
        match release.state {
            ReleaseState::Approved | ReleaseState::Publishing | ReleaseState::AwaitingSignature => Ok(()),
            _ => Err(format!("{release:?}")),
        }
    })
    .await;
}

/// Terminals may still hold what was withdrawn, and say its version.
#[tokio::test(flavor = "multi_thread")]
async fn confirmed_with_other_bytes_a_withdrawn_version_is_not_published_with_other_content() {
    let office = Office::start().await;
    office.branch("north", "kiosk-x86", &["till-1"]).await;
    let manager = office.as_role(Role::ReleaseManager);
    let goes_on = async || {
        let id = uploaded(&office, &Recipe::default()).await;
        test_kit::wait_for("the release to pass the rules", crate::support::PATIENCE, async || {
            let state = office.release(id).await.state;
            if [ReleaseState::Approved, ReleaseState::Publishing].contains(&state) { Ok(()) } else { Err(state) }
        })
        .await;
        id
    };
    let id = goes_on().await;
    let body = json!({ "reason": "prints twice" });
    manager.post::<_, serde_json::Value>(&format!("/v1/releases/{id}/withdraw"), &body).await.unwrap();
    // It had been published before; that takes a BitTorrent client, which is not here.
    let client = connection(&office.pool().await).await.unwrap();
    client.execute("UPDATE releases SET published_at = changed_at WHERE id = $1", &[&id]).await.unwrap();
    let other = uploaded(&office, &Recipe { bits: 7, ..Recipe::default() }).await;
    let release = office.wait_for_state(other, ReleaseState::Rejected).await;
    assert_eq!(failed(&release), ["version-newer"]);
    let finding = release.report.unwrap().findings.into_iter().find(|f| f.id == "version-newer").unwrap();
    assert!(finding.cause.contains("was published with other content before it was withdrawn"), "{}", finding.cause);
    // The same content is the same version.
    goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_archives_of_one_version_only_one_goes_on() {
    let office = Office::start().await;
    office.branch("north", "kiosk-x86", &["till-1"]).await;
    let file = pack(office.dir.path(), &Recipe::default());
    let bytes = std::fs::read(file).unwrap();
    let manager = office.as_role(Role::ReleaseManager);
    let (one, two) = tokio::join!(upload(&manager, &bytes), upload(&manager, &bytes));
    test_kit::wait_for("one to be rejected and one to go on", crate::support::PATIENCE, async || {
        let states = [office.release(one).await.state, office.release(two).await.state];
        let rejected = states.iter().filter(|s| **s == ReleaseState::Rejected).count();
        let going_on = states.iter().filter(|s| [ReleaseState::Approved, ReleaseState::Publishing].contains(s)).count();
        if (rejected, going_on) == (1, 1) { Ok(()) } else { Err(format!("{states:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_publishing_from_going_on_is_said() {
    // No daemons here: listing cannot be confirmed.
    let office = Office::start().await;
    office.branch("north", "kiosk-x86", &["till-1"]).await;
    let id = uploaded(&office, &Recipe::default()).await;
    let release = test_kit::wait_for("a reason", crate::support::PATIENCE, async || {
        let release = office.release(id).await;
        match (release.reason(ReasonCode::PublishingRetried), release.state) {
            (Some(_), ReleaseState::Publishing) => Ok(release),
            _ => Err(format!("{release:?}")),
        }
    })
    .await;
    let reason = release.why();
    assert!(release.reasons[0].params.get("attempt").is_some(), "{reason}");
    assert!(reason.contains("Attempt") && reason.contains("tracker"), "{reason}");
    assert!(release.payloads[0].artifact.is_some(), "what is encoded stays encoded");
    // No branch may be told of it.
    let body = json!({ "branch": "north", "product": "kiosk", "version": "1.0.0" });
    let answer = office.admin().post::<_, wire::v1::fleet::PlanIssued>("/v1/assignments", &body).await;
    assert_eq!(refusal(answer), Code::NotPublished);
    let artifact = release.payloads[0].artifact.as_ref().unwrap().sha256;
    assert_eq!(status_of(&office.admin(), Method::GET, &format!("/v1/artifacts/{artifact}/torrent")).await, 404);
}

async fn waiting_for_approval(office: &Office) -> Uuid {
    let id = Uuid::new_v4();
    let client = connection(&office.pool().await).await.unwrap();
    let sql = "INSERT INTO releases (id, state, file_name, archive_bytes, product, version, created_by, created_at,
        changed_at, touched_at) VALUES ($1, 'awaiting-signature', 'a.upd', 10, 'kiosk', '1.0.0', 'test', $2, $2, $2)";
    client.execute(sql, &[&id, &crate::support::begin()]).await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_are_accepted_by_name_and_with_a_reason() {
    let office = Office::start().await;
    let id = waiting_for_approval(&office).await;
    let manager = office.as_role(Role::ReleaseManager);
    let path = format!("/v1/releases/{id}/approve");
    for bad in [json!({ "reason": "  " }), json!({ "reason": "x".repeat(2000) }), json!({})] {
        assert_eq!(refusal(manager.post::<_, Release>(&path, &bad).await), Code::BadField, "{bad}");
    }
    let good = json!({ "reason": "Agreed with the shop." });
    assert_eq!(refusal(office.as_role(Role::Operator).post::<_, Release>(&path, &good).await), Code::Forbidden);
    assert_eq!(refusal(office.stranger().post::<_, Release>(&path, &good).await), Code::Unauthenticated);
    manager.post::<_, Release>(&path, &good).await.unwrap();
    assert_eq!(refusal(manager.post::<_, Release>(&path, &good).await), Code::WrongState);
    let client = connection(&office.pool().await).await.unwrap();
    let row =
        client.query_one("SELECT approved_by, approved_reason FROM releases WHERE id = $1", &[&id]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("release-manager", "Agreed with the shop."));
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_are_listed_newest_first() {
    let office = Office::start().await;
    published(&office, "kiosk", "0.9.0", "k1").await;
    let id = waiting_for_approval(&office).await;
    let viewer = office.as_role(Role::Viewer);
    let all: Vec<Release> = viewer.get("/v1/releases").await.unwrap();
    assert_eq!(all.len(), 2);
    let one: Release = viewer.get(&format!("/v1/releases/{id}")).await.unwrap();
    assert_eq!(one.state, ReleaseState::AwaitingSignature);
    assert_eq!(refusal(viewer.get::<Release>(&format!("/v1/releases/{}", Uuid::new_v4())).await), Code::NotFound);
    assert_eq!(refusal(viewer.get::<Release>("/v1/releases/seven").await), Code::BadRequest);
    assert_eq!(status_of(&office.stranger(), Method::GET, "/v1/releases").await, 401);
}
