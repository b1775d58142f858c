//! Releases that are signed elsewhere: who may say that a release is genuine, and what happens until enough did.

use chrono::TimeDelta;
use fleet_types::ReleaseState;
use head_office::config::Signing;
use head_office::trust::Trust;
use release::Policy;
use reqwest::Method;
use serde_json::json;
use service_kit::client::{ClientError, JsonClient};
use service_kit::database::connection;
use service_kit::server::Role;
use test_kit::wait_for;
use trust::repository::{Change, MAX_PROPOSAL, Proposal, RoleName, SignedPayload, store};
use trust::{SigningKey, Why};
use uuid::Uuid;
use wire::v1::releases::{Release, Verdict, Withdrawn};
use wire::{Code, Reason, ReasonCode};

use crate::api::refusal;
use crate::support::archive::{Recipe, pack};
use crate::support::trust::{make, publish, release_key, settings, take};
use crate::support::tus::upload;
use crate::support::{Office, PATIENCE, begin, published};

const MODEL: &str = "kiosk-x86";

async fn uploaded(office: &Office, version: &str) -> Release {
    let file = pack(office.dir.path(), &Recipe { version, ..Recipe::default() });
    let id = upload(&office.as_role(Role::ReleaseManager), &std::fs::read(file).unwrap()).await;
    office.wait_for_state(id, ReleaseState::AwaitingSignature).await
}

async fn office() -> Office {
    let office = Office::offline().await;
    office.branch("north", MODEL, &["till-1"]).await;
    office
}

fn kiosk() -> RoleName {
    RoleName::Product("kiosk".parse().unwrap())
}

fn payloads(release: &Release) -> Vec<SignedPayload> {
    let signed = |p: &wire::v1::releases::ReleasePayload| SignedPayload {
        product: release.product.clone().unwrap(),
        version: release.version.clone().unwrap(),
        payload: p.payload.name.clone(),
        manifest: release.manifest.unwrap(),
        sha256: p.payload.sha256,
        length: p.payload.length,
    };
    release.payloads.iter().map(signed).collect()
}

/// What `filial release sign` would write without a key.
fn proposed(office: &Office, changes: &[Change]) -> Proposal {
    let repository = store::read(&office.settings.trust.metadata).unwrap();
    let (now, life) = (begin(), TimeDelta::days(3650));
    repository.propose(&kiosk(), changes, now, now + life).unwrap()
}

fn key(office: &Office, number: usize) -> SigningKey {
    SigningKey::read(&release_key(&office.trust(), false, number)).unwrap()
}

/// The same statement, signed by some of the three keys.
fn signed(office: &Office, proposal: &Proposal, keys: &[usize]) -> Vec<u8> {
    let mut copy = proposal.clone();
    keys.iter().for_each(|n| copy.sign(&key(office, *n)).unwrap());
    copy.to_bytes().unwrap()
}

/// A release's signatures by the only release key, which lies with head office.
pub fn signed_by_head_office(office: &Office, release: &Release) -> Vec<u8> {
    let mut proposal = proposed(office, &[Change::Release(payloads(release))]);
    proposal.sign(&SigningKey::read(&release_key(&office.trust(), true, 1)).unwrap()).unwrap();
    proposal.to_bytes().unwrap()
}

async fn post_as(client: &JsonClient, id: Uuid, file: Vec<u8>) -> Result<Release, ClientError> {
    let path = wire::v1::paths::release_signatures(&id.to_string());
    let answer = client.send(client.request(Method::POST, &path).body(file), &path).await?;
    Ok(answer.json().await.unwrap())
}

async fn post(office: &Office, id: Uuid, file: Vec<u8>) -> Result<Release, ClientError> {
    post_as(&office.as_role(Role::ReleaseManager), id, file).await
}

fn goes_on(release: &Release) -> bool {
    [ReleaseState::Approved, ReleaseState::Publishing].contains(&release.state)
}

fn in_force(office: &Office) -> Vec<SignedPayload> {
    store::read(&office.settings.trust.metadata).unwrap().payloads().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_release_keys_in_either_order_let_a_release_go_on() {
    let office = office().await;
    for (version, [first, second]) in [("1.0.0", [1, 3]), ("1.1.0", [3, 2])] {
        let release = uploaded(&office, version).await;
        let reason = release.why();
        assert!(reason.starts_with("2 of 2 signatures by release keys of kiosk are missing"), "{reason}");
        assert_eq!(release.signatures, None);
        let proposal = proposed(&office, &[Change::Release(payloads(&release))]);
        let one = post(&office, release.id, signed(&office, &proposal, &[first])).await.unwrap();
        let said = one.signatures.clone().unwrap();
        assert_eq!((one.state, said.threshold, said.missing), (ReleaseState::AwaitingSignature, 2, 1));
        assert_eq!(said.signed_by, [key(&office, first).public().id()]);
        assert!(one.why().starts_with("1 of 2") && one.reasons[0].code == ReasonCode::SignaturesMissing, "{one:?}");
        assert!(!in_force(&office).contains(&payloads(&release)[0]), "one signature is none");
        // The same once more counts once.
        let again = post(&office, release.id, signed(&office, &proposal, &[first])).await.unwrap();
        assert_eq!(again.signatures, one.signatures);
        let both = post(&office, release.id, signed(&office, &proposal, &[second])).await.unwrap();
        assert!(goes_on(&both) && both.reasons.is_empty(), "{both:?}");
        assert_eq!(both.signatures.unwrap().missing, 0);
        assert!(in_force(&office).contains(&payloads(&release)[0]));
        let late = post(&office, release.id, signed(&office, &proposal, &[2])).await;
        assert_eq!(refusal(late), Code::WrongState);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_and_signatures_are_both_needed_in_either_order() {
    let office = Office::with(|settings| {
        settings.policy = Policy::parse("[size-growth]\nwarn_above_percent = 1\n").unwrap();
        settings.trust.signing = Signing::Offline;
        make(settings.trust.metadata.parent().unwrap(), begin(), false, 3, 2);
    })
    .await;
    office.branch("north", MODEL, &["till-1"]).await;
    published(&office, "kiosk", "0.9.0", MODEL).await;
    let manager = office.as_role(Role::ReleaseManager);
    for (version, signature_first) in [("1.0.0", true), ("1.1.0", false)] {
        let release = uploaded(&office, version).await;
        let (reason, codes) = (release.why(), release.reasons.iter().map(|r| &r.code).collect::<Vec<_>>());
        assert_eq!(codes, [&ReasonCode::WarningsOpen, &ReasonCode::SignaturesMissing]);
        assert!(reason.starts_with("Warnings to be accepted: size-growth. 2 of 2 signatures"), "{reason}");
        let proposal = proposed(&office, &[Change::Release(payloads(&release))]);
        let file = signed(&office, &proposal, &[1, 2]);
        let approve = async || {
            let path = format!("/v1/releases/{}/approve", release.id);
            manager.post::<_, Release>(&path, &json!({ "reason": "New films." })).await
        };
        if signature_first {
            let waits = post(&office, release.id, file).await.unwrap();
            assert_eq!(waits.state, ReleaseState::AwaitingSignature);
            assert_eq!(waits.reasons, [Reason::of(ReasonCode::WarningsOpen).with("rules", "size-growth")]);
            assert_eq!(waits.why(), "Warnings to be accepted: size-growth.");
            assert!(in_force(&office).is_empty(), "nothing is in force that nobody accepted");
            assert!(goes_on(&approve().await.unwrap()));
        } else {
            let waits = approve().await.unwrap();
            assert_eq!(waits.state, ReleaseState::AwaitingSignature);
            assert!(waits.why().starts_with("2 of 2 signatures"));
            assert_eq!(refusal(approve().await), Code::WrongState, "accepted once is accepted");
            assert!(goes_on(&post(&office, release.id, file).await.unwrap()));
        }
        assert!(in_force(&office).contains(&payloads(&release)[0]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_a_release_keys_signature_of_this_very_archive_counts() {
    let office = office().await;
    let release = uploaded(&office, "1.0.0").await;
    let good = proposed(&office, &[Change::Release(payloads(&release))]);
    let manager = office.as_role(Role::ReleaseManager);

    // Of another archive with the same name and version.
    let mut other = payloads(&release);
    other[0].sha256 = fleet_types::Digest::new([9; 32]);
    let file = signed(&office, &proposed(&office, &[Change::Release(other)]), &[1, 2]);
    let refused = post(&office, release.id, file).await;
    let Err(ClientError::Refused(problem)) = &refused else { panic!("{refused:?}") };
    assert!(problem.detail.contains("rootfs") && problem.detail.contains("SHA-256"), "{problem:?}");
    assert_eq!(refusal(refused), Code::OtherRelease);
    let mut other = payloads(&release);
    other[0].manifest = fleet_types::Digest::new([9; 32]);
    let file = signed(&office, &proposed(&office, &[Change::Release(other)]), &[1, 2]);
    assert_eq!(refusal(post(&office, release.id, file).await), Code::OtherRelease);
    // Of another version, of nothing.
    let mut other = payloads(&release);
    other[0].version = "9.9.9".parse().unwrap();
    let file = signed(&office, &proposed(&office, &[Change::Release(other)]), &[1, 2]);
    assert_eq!(refusal(post(&office, release.id, file).await), Code::OtherRelease);
    let file = signed(&office, &proposed(&office, &[]), &[1, 2]);
    assert_eq!(refusal(post(&office, release.id, file).await), Code::OtherRelease);
    // An unknown key, or none: neither counts, nor stays in the way.
    let mut strange = good.clone();
    strange.sign(&SigningKey::generate().unwrap()).unwrap();
    for file in [strange.to_bytes().unwrap(), good.to_bytes().unwrap()] {
        assert_eq!(refusal(post(&office, release.id, file).await), Code::UnknownSigner);
    }
    // An invalid file.
    for file in [b"{}".to_vec(), b"<html>".to_vec(), Vec::new()] {
        assert_eq!(refusal(post(&office, release.id, file).await), Code::SignatureRefused);
    }
    let long = vec![b' '; MAX_PROPOSAL as usize + 1];
    assert_eq!(refusal(post(&office, release.id, long).await), Code::TooLarge);
    // Callers without the role.
    let file = signed(&office, &good, &[1, 2]);
    assert_eq!(refusal(post_as(&office.as_role(Role::Operator), release.id, file.clone()).await), Code::Forbidden);
    assert_eq!(refusal(post_as(&office.stranger(), release.id, file.clone()).await), Code::Unauthenticated);
    assert_eq!(refusal(post(&office, Uuid::new_v4(), file.clone()).await), Code::NotFound);

    let seen = office.release(release.id).await;
    assert_eq!((seen.state, seen.signatures), (ReleaseState::AwaitingSignature, None));
    assert!(in_force(&office).is_empty());
    let approve = json!({ "reason": "There is nothing to accept." });
    let path = format!("/v1/releases/{}/approve", release.id);
    assert_eq!(refusal(manager.post::<_, Release>(&path, &approve).await), Code::WrongState);
    assert!(goes_on(&post(&office, release.id, file).await.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_releases_signed_against_one_state_the_second_is_signed_again() {
    let office = office().await;
    let (first, second) = (uploaded(&office, "1.0.0").await, uploaded(&office, "1.1.0").await);
    let one = proposed(&office, &[Change::Release(payloads(&first))]);
    let two = proposed(&office, &[Change::Release(payloads(&second))]);
    post(&office, second.id, signed(&office, &two, &[1])).await.unwrap();
    assert!(goes_on(&post(&office, first.id, signed(&office, &one, &[1, 2])).await.unwrap()));
    let late = post(&office, second.id, signed(&office, &two, &[2])).await;
    let Err(ClientError::Refused(problem)) = &late else { panic!("{late:?}") };
    assert!(problem.detail.contains("is based on") && problem.remedy.contains("sign again"), "{problem:?}");
    assert_eq!(refusal(late), Code::SignAgain);
    // What was signed again stands alone: the signature from before does not count for it.
    let again = proposed(&office, &[Change::Release(payloads(&second))]);
    let half = post(&office, second.id, signed(&office, &again, &[2])).await.unwrap();
    assert_eq!(half.signatures.unwrap().missing, 1);
    assert!(goes_on(&post(&office, second.id, signed(&office, &again, &[3])).await.unwrap()));
    assert_eq!(in_force(&office).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_whose_keys_nobody_holds_is_rejected_and_says_how_to_go_on() {
    let office = office().await;
    let file = pack(office.dir.path(), &Recipe { product: "vending", ..Recipe::default() });
    let id = upload(&office.as_role(Role::ReleaseManager), &std::fs::read(file).unwrap()).await;
    let release = office.wait_for_state(id, ReleaseState::Rejected).await;
    assert_eq!(release.reasons, [Reason::of(ReasonCode::RulesFailed).with("rules", "signatures")]);
    assert_eq!(release.why(), "Rules that failed: signatures.");
    let finding = release.report.unwrap().findings.into_iter().find(|f| f.id == "signatures").unwrap();
    assert_eq!(finding.verdict, Verdict::Fail);
    assert!(finding.remedy.contains("filial trust propose FOLDER product-vending"), "{finding:?}");
}

/// What a process leaves that was killed after the metadata took a release, and before the database knew of it; also what
/// `filial trust accept` does in the folder.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_signed_in_the_metadata_already_goes_on_at_the_next_start() {
    let mut office = office().await;
    let release = uploaded(&office, "1.0.0").await;
    let proposal = proposed(&office, &[Change::Release(payloads(&release))]);
    office.stop().await;
    let mut repository = store::read(&office.settings.trust.metadata).unwrap();
    take(&mut repository, proposal, &[&key(&office, 1), &key(&office, 2)]);
    publish(&office.trust(), &mut repository, begin());
    office.resume().await;
    wait_for("the release to go on", PATIENCE, async || {
        let release = office.release(release.id).await;
        if goes_on(&release) { Ok(()) } else { Err(format!("{release:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_cannot_be_read_does_not_stop_those_behind_it() {
    let mut office = office().await;
    let (first, second) = (uploaded(&office, "1.0.0").await, uploaded(&office, "1.1.0").await);
    let changes = [Change::Release(payloads(&first)), Change::Release(payloads(&second))];
    let proposal = proposed(&office, &changes);
    office.stop().await;
    let mut repository = store::read(&office.settings.trust.metadata).unwrap();
    take(&mut repository, proposal, &[&key(&office, 1), &key(&office, 2)]);
    publish(&office.trust(), &mut repository, begin());
    let client = connection(&office.pool().await).await.unwrap();
    let damage = "UPDATE releases SET report = '7' WHERE id = $1";
    assert_eq!(client.execute(damage, &[&first.id]).await.unwrap(), 1);
    office.resume().await;
    wait_for("the second release to go on, and the first to be named", PATIENCE, async || {
        let release = office.release(second.id).await;
        let metrics = office.admin().request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
        let failures = r#"filial_background_failures_total{task="metadata"}"#;
        let failed = metrics.lines().any(|line| line.starts_with(failures) && !line.ends_with(" 0"));
        if goes_on(&release) && failed { Ok(()) } else { Err(format!("{release:?}, failed: {failed}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_published_while_head_office_runs_is_not_overwritten() {
    let office = office().await;
    let (first, second) = (uploaded(&office, "1.0.0").await, uploaded(&office, "1.1.0").await);
    let proposal = proposed(&office, &[Change::Release(payloads(&first))]);
    let mut repository = store::read(&office.settings.trust.metadata).unwrap();
    take(&mut repository, proposal, &[&key(&office, 1), &key(&office, 2)]);
    publish(&office.trust(), &mut repository, begin() + TimeDelta::seconds(1));
    let next = proposed(&office, &[Change::Release(payloads(&second))]);
    assert!(goes_on(&post(&office, second.id, signed(&office, &next, &[1, 2])).await.unwrap()));
    assert_eq!(in_force(&office).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_release_is_vouched_for_no_more_or_the_holders_are_told() {
    let office = Office::start().await;
    office.branch("north", MODEL, &["till-1"]).await;
    let file = pack(office.dir.path(), &Recipe::default());
    let bytes = std::fs::read(file).unwrap();
    let id = upload(&office.as_role(Role::ReleaseManager), &bytes).await;
    wait_for("it to be signed", PATIENCE, async || if in_force(&office).len() == 1 { Ok(()) } else { Err("not yet") })
        .await;
    let withdraw = async |office: &Office, id: Uuid| -> Withdrawn {
        let body = json!({ "reason": "Receipts print twice." });
        office.as_role(Role::Operator).post(&format!("/v1/releases/{id}/withdraw"), &body).await.unwrap()
    };
    assert_eq!(withdraw(&office, id).await.to_do, None);
    wait_for("nobody to vouch for it", PATIENCE, async || match in_force(&office).len() {
        0 => Ok(()),
        n => Err(n),
    })
    .await;

    let office = self::office().await;
    let release = uploaded(&office, "1.0.0").await;
    let proposal = proposed(&office, &[Change::Release(payloads(&release))]);
    post(&office, release.id, signed(&office, &proposal, &[1, 2])).await.unwrap();
    let to_do = withdraw(&office, release.id).await.to_do.unwrap();
    assert!(to_do.contains("product-kiosk --withdraw 1.0.0"), "{to_do}");
    assert_eq!(in_force(&office).len(), 1);
    // Uploaded again it is what the keys vouch for, and goes on without them.
    let file = pack(office.dir.path(), &Recipe { version: "1.0.0", ..Recipe::default() });
    let id = upload(&office.as_role(Role::ReleaseManager), &std::fs::read(file).unwrap()).await;
    wait_for("it to go on", PATIENCE, async || {
        let release = office.release(id).await;
        if goes_on(&release) { Ok(()) } else { Err(format!("{release:?}")) }
    })
    .await;
}

#[test]
fn keys_and_metadata_that_do_not_belong_together_are_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let own = settings(folder, Signing::Offline);
    let why = |settings| Trust::open(&settings).unwrap_err();
    let said = why(own.clone()).to_string();
    assert!(said.contains("no metadata") && said.contains("filial trust init"), "{said}");
    make(folder, begin(), false, 3, 2);
    Trust::open(&own).unwrap();
    // A key that holds no role, or another one than its file says.
    let plan = folder.join("online/plan.pem");
    std::fs::rename(&plan, folder.join("kept.pem")).unwrap();
    let said = why(own.clone());
    assert!(said.to_string().contains("Role plan needs 1 key"), "{said}");
    SigningKey::create(&plan).unwrap();
    let said = why(own.clone());
    assert_eq!(said.why(), Some(Why::ProposalUnknownKey));
    assert!(said.to_string().contains("plan.pem") && said.to_string().contains("does not hold"), "{said}");
    std::fs::rename(folder.join("kept.pem"), &plan).unwrap();
    std::fs::copy(folder.join("online/derived.pem"), folder.join("online/snapshot-2.pem")).unwrap();
    assert_eq!(why(own.clone()).why(), Some(Why::ProposalUnknownKey));
    std::fs::remove_file(folder.join("online/snapshot-2.pem")).unwrap();
    // Keys that belong elsewhere, and keys that others can read.
    std::fs::copy(folder.join("offline/root-1.pem"), folder.join("online/root-1.pem")).unwrap();
    assert_eq!(why(own.clone()).why(), Some(Why::KeyFileExposed));
    std::fs::remove_file(folder.join("online/root-1.pem")).unwrap();
    std::fs::set_permissions(&plan, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(why(own).why(), Some(Why::KeyFileExposed));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_posted_what_is_in_the_audit() {
    let office = office().await;
    let release = uploaded(&office, "1.0.0").await;
    let proposal = proposed(&office, &[Change::Release(payloads(&release))]);
    post(&office, release.id, signed(&office, &proposal, &[1])).await.unwrap();
    let client = connection(&office.pool().await).await.unwrap();
    let sql = "SELECT who, action, after_state FROM audit ORDER BY seq DESC LIMIT 1";
    let row = client.query_one(sql, &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "release-manager");
    assert_eq!(row.get::<_, &str>(1), "POST /v1/releases/{id}/signatures");
    let after: serde_json::Value = serde_json::from_str(row.get(2)).unwrap();
    assert_eq!((&after["missing"], &after["state"]), (&json!(1), &json!("awaiting-signature")));
    assert_eq!(after["signed_by"], json!([key(&office, 1).public().id()]));
}
