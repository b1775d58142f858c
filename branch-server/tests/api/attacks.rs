//! The attacks of the design that a branch server meets, each by its name, from whoever stands between it and head office or
//! holds some of head office's keys: what it says, and that it goes on with what it had.

use std::sync::Arc;

use chrono::TimeDelta;
use service_kit::database::connection;
use service_kit::{Clock, SystemClock};
use test_kit::attacker::evil_target;
use trust::SigningKey;
use wire::v1::plan::Plan;
use wire::{Envelope, PLAN_PAYLOAD_TYPE};

use crate::daemons::Later;
use crate::head_office::{Mood, State, Trick};
use crate::plans::{kept, plan};
use crate::support::{Branch, Options};

/// A branch that follows plan 7.
async fn victim() -> Branch {
    let branch = Branch::enrolled().await;
    branch.head_office.offer(&plan(7));
    branch.app.poll.once().await.unwrap();
    assert_eq!(kept(&branch).await, Some(7));
    branch
}

/// Why the offered plan is refused, as people at the branch see it.
async fn refused(branch: &Branch) -> String {
    branch.status().await["head_office"]["plan_refused"]["text"].as_str().unwrap_or_default().to_owned()
}

/// What is served becomes this; the branch looks at it, keeps plan 7 and says why.
async fn attack(branch: &Branch, edit: impl FnOnce(&mut State)) -> String {
    branch.head_office.with(edit);
    branch.app.poll.once().await.unwrap();
    assert_eq!(kept(branch).await, Some(7), "it follows something else");
    refused(branch).await
}

/// What honest head office does next is accepted.
async fn recovers(branch: &Branch) {
    branch.head_office.offer(&plan(99));
    branch.app.poll.once().await.unwrap();
    assert_eq!(kept(branch).await, Some(99), "{}", branch.status().await);
    assert_eq!(refused(branch).await, "");
}

fn assert_says(said: &str, sentence: &str, why: trust::Why) {
    assert!(said.contains(sentence) && said.ends_with(why.remedy()), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_branchs_plan() {
    let branch = victim().await;
    let south = Plan { branch: "south".parse().unwrap(), ..plan(8) };
    let said = attack(&branch, |s| s.plan = Some(s.fleet.order(&south, SystemClock.now()).unwrap())).await;
    assert_says(&said, "for branch south; this is branch north", trust::Why::PlanWrongBranch);
    recovers(&branch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replayed_older_plan() {
    let branch = victim().await;
    let old = |s: &mut State| s.plan = Some(s.fleet.seal(&plan(6)).unwrap());
    assert_says(&attack(&branch, old).await, "serial 6; plan 7 was accepted", trust::Why::PlanReplayed);
    let other = |s: &mut State| s.plan = Some(s.fleet.seal(&Plan { steps: Vec::new(), ..plan(7) }).unwrap());
    assert_says(&attack(&branch, other).await, "Another plan with serial 7", trust::Why::PlanReplayed);
    // The floor is in the database.
    let branch = branch.restart(Options::default()).await;
    assert_says(&attack(&branch, old).await, "serial 6; plan 7 was accepted", trust::Why::PlanReplayed);
    recovers(&branch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn substituted_release_in_a_plan() {
    let branch = victim().await;
    // Head office's plan key alone orders something else under a signed name.
    let mut substituted = plan(8);
    substituted.steps[0].payload.sha256 = [6; 32].into();
    let said = attack(&branch, |s| s.plan = Some(s.fleet.seal(&substituted).unwrap())).await;
    assert_says(&said, "names payload 06060606", trust::Why::SubstitutedRelease);
    // And with the key of artifacts: another artifact for the genuine payload.
    let mut rerouted = plan(8);
    rerouted.steps[0].artifact.info_hash = [6; 20].into();
    let said = attack(&branch, |s| s.plan = Some(s.fleet.seal(&rerouted).unwrap())).await;
    assert_says(&said, "another index or info hash", trust::Why::SubstitutedRelease);
    recovers(&branch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arbitrary_software() {
    let branch = victim().await;
    // All keys of head office, none of the release keys: the plan, and the artifact, are signed.
    let mut evil = plan(8);
    evil.steps[0].version = fleet_types::Version::new(6, 6, 6);
    evil.steps[0].payload.sha256 = [6; 32].into();
    let said = attack(&branch, |s| {
        s.fleet.sign_artifact(&evil.steps[0], SystemClock.now()).unwrap();
        s.fleet.publish(SystemClock.now()).unwrap();
        s.serve_metadata();
        s.plan = Some(s.fleet.seal(&evil).unwrap());
    })
    .await;
    assert_says(&said, "did not sign payload root of version 6.6.6", trust::Why::NotSigned);
    // The same, signed by the release key, is a release like any other.
    branch.head_office.offer(&evil);
    branch.app.poll.once().await.unwrap();
    assert_eq!(kept(&branch).await, Some(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn vulnerable_key() {
    let branch = victim().await;
    let unsigned = |s: &mut State| s.plan = Some(Envelope::unsigned(PLAN_PAYLOAD_TYPE, &plan(8)).unwrap());
    assert_says(&attack(&branch, unsigned).await, "not signed by any known plan key", trust::Why::PlanUnknownKey);
    let stranger = SigningKey::generate().unwrap();
    let strangers = |s: &mut State| s.plan = Some(trust::plans::sign(&plan(8), &[&stranger]).unwrap());
    assert_says(&attack(&branch, strangers).await, "not signed by any known plan key", trust::Why::PlanUnknownKey);
    // The genuine signature under another plan.
    let altered = |s: &mut State| {
        let signatures = s.fleet.seal(&plan(7)).unwrap().signatures;
        s.plan = Some(Envelope { signatures, ..s.fleet.seal(&plan(8)).unwrap() });
    };
    assert_says(&attack(&branch, altered).await, "The signature by plan key", trust::Why::PlanBadSignature);
    recovers(&branch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn indefinite_freeze() {
    let clock = Arc::new(Later::default());
    let branch = Branch::start(Options { clock: clock.clone(), ..Options::default() }).await;
    branch.head_office.with(|s| {
        let now = SystemClock.now();
        s.fleet.publish_until(now, now + TimeDelta::hours(8)).unwrap();
        s.serve_metadata();
    });
    branch.head_office.offer(&plan(7));
    branch.app.poll.once().await.unwrap();
    // Nothing new comes any more, and the metadata that does is over.
    clock.advance(TimeDelta::hours(9));
    branch.app.poll.once().await.unwrap();
    assert_eq!(kept(&branch).await, Some(7), "what was accepted stays");
    assert_eq!(refused(&branch).await, "");
    let trouble = branch.status().await["metadata"]["trouble"].as_str().unwrap_or_default().to_owned();
    assert_says(&trouble, "role timestamp expired", trust::Why::MetadataExpired);
    // A new plan is not accepted by it, and says why.
    let said = attack(&branch, |s| s.plan = Some(s.fleet.seal(&plan(8)).unwrap())).await;
    assert!(said.starts_with("No new plan is accepted without fresh metadata."), "{said}");
    assert_says(&said, "role timestamp expired", trust::Why::MetadataExpired);
    branch.head_office.with(|s| {
        let now = clock.now();
        s.fleet.publish_until(now, now + TimeDelta::days(7)).unwrap();
        s.serve_metadata();
    });
    branch.app.poll.once().await.unwrap();
    assert_eq!(kept(&branch).await, Some(8));
    assert_eq!(branch.status().await["metadata"].get("trouble"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback() {
    let branch = victim().await;
    let old = branch.head_office.with(|s| (s.metadata.clone(), s.hint));
    let newer = Plan { steps: Vec::new(), ..plan(8) };
    let served = branch.head_office.with(|s| {
        s.fleet.withdraw(&plan(7).steps[0], SystemClock.now()).unwrap();
        s.fleet.publish(SystemClock.now()).unwrap();
        s.serve_metadata();
        s.hint
    });
    branch.app.poll.once().await.unwrap();
    assert_eq!(branch.status().await["metadata"]["timestamp"].as_u64(), served, "the withdrawal is known");
    // Metadata from before the withdrawal, with its genuine signatures.
    let said = attack(&branch, |s| {
        (s.metadata, s.hint) = old;
        s.plan = Some(s.fleet.seal(&newer).unwrap());
    })
    .await;
    assert_says(&said, "No new plan is accepted without fresh metadata", trust::Why::MetadataRollback);
    assert_eq!(branch.status().await["metadata"]["timestamp"].as_u64(), served);
    recovers(&branch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mix_and_match() {
    let branch = victim().await;
    let said = attack(&branch, |s| {
        let before = s.metadata.clone();
        let mut next = plan(8);
        next.steps[0].version = fleet_types::Version::new(3, 0, 0);
        s.plan = Some(s.fleet.order(&next, SystemClock.now()).unwrap());
        s.serve_metadata();
        // The role of the product as it was before, under its new name.
        let role = |files: &std::collections::BTreeMap<String, Vec<u8>>| {
            files.keys().rfind(|n| n.ends_with(".product-till.json")).unwrap().clone()
        };
        let (old, new) = (role(&before), role(&s.metadata));
        assert_ne!(old, new);
        s.metadata.insert(new, before[&old].clone());
    })
    .await;
    assert!(said.starts_with("No new plan is accepted without fresh metadata"), "{said}");
    let code = branch.app.metadata.believed().trouble.as_ref().map(trust::Refusal::code);
    assert!(matches!(code, Some("metadata-digest" | "endless-data" | "metadata-mixed")), "{code:?}");
    recovers(&branch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_data() {
    let branch = victim().await;
    let said = attack(&branch, |s| {
        s.trick = Some(Trick::Endless);
        s.plan = Some(s.fleet.seal(&plan(8)).unwrap());
    })
    .await;
    assert_says(&said, "has more than", trust::Why::EndlessData);
    branch.head_office.with(|s| s.trick = None);
    recovers(&branch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_retrieval() {
    let branch = Branch::start(Options { head_office_seconds: 5.0, ..Options::default() }).await;
    branch.head_office.offer(&plan(7));
    branch.app.poll.once().await.unwrap();
    branch.head_office.with(|s| {
        let mut next = plan(8);
        next.steps[0].version = fleet_types::Version::new(3, 0, 0);
        s.plan = Some(s.fleet.order(&next, SystemClock.now()).unwrap());
        s.serve_metadata();
        s.trick = Some(Trick::Drip);
    });
    // It tries again sooner than at the next poll.
    branch.app.poll.once().await.unwrap_err();
    assert_eq!(kept(&branch).await, Some(7), "it follows something else");
    let said = refused(&branch).await;
    assert!(said.starts_with("No new plan is accepted without fresh metadata"), "{said}");
    assert_says(&said, "did not arrive within 5 s", trust::Why::SlowRetrieval);
    branch.head_office.with(|s| s.trick = None);
    recovers(&branch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn extraneous_dependency() {
    let branch = victim().await;
    let said = attack(&branch, |s| {
        // The key of artifacts, which head office holds online, signs a release beside them.
        let mut intruder = s.fleet.intruder();
        let derived = std::slice::from_ref(&s.fleet.derived);
        intruder.forge("derived", derived, |signed| signed["targets"]["releases/till/6.6.6/root"] = evil_target());
        (s.metadata, s.hint) = (intruder.sealed(), s.fleet.version().map(|v| v + 1));
        s.plan = Some(s.fleet.seal(&plan(8)).unwrap());
    })
    .await;
    assert!(said.starts_with("No new plan is accepted without fresh metadata"), "{said}");
    assert_says(&said, "releases/till/6.6.6/root", trust::Why::OutOfPath);
    recovers(&branch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fast_forward() {
    // Longer than a leaf certificate lasts, and than this branch's intermediate.
    forwarded_by(TimeDelta::days(300)).await;
    forwarded_by(TimeDelta::days(3_000)).await;
}

async fn forwarded_by(days: TimeDelta) {
    let branch = victim().await;
    // Stolen online keys raise versions and time; nothing that head office publishes is newer.
    branch.head_office.with(|s| {
        let genuine = s.fleet.repository.clone();
        s.fleet.publish(SystemClock.now() + days).unwrap();
        s.serve_metadata();
        s.fleet.repository = genuine;
    });
    branch.app.poll.once().await.unwrap();
    let said = attack(&branch, |s| {
        s.fleet.publish(SystemClock.now()).unwrap();
        s.serve_metadata();
        s.plan = Some(s.fleet.seal(&plan(8)).unwrap());
    })
    .await;
    assert_says(&said, "No new plan is accepted without fresh metadata", trust::Why::MetadataRollback);
    // The root's holders name other online keys: versions and the time begin anew.
    branch.head_office.with(|s| s.fleet.rotate_online_keys(SystemClock.now()).unwrap());
    recovers(&branch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn off_line_for_longer_than_every_expiry_it_recovers_by_itself() {
    let clock = Arc::new(Later::default());
    let branch = Branch::start(Options { clock: clock.clone(), ..Options::default() }).await;
    branch.head_office.offer(&plan(7));
    branch.app.poll.once().await.unwrap();
    branch.head_office.with(|s| s.mood = Mood::Away);
    clock.advance(TimeDelta::days(4_000));
    branch.app.poll.once().await.unwrap_err();
    assert_eq!(kept(&branch).await, Some(7), "what was accepted is served on");
    let now = clock.now();
    let next = Plan { issued: now, expires: now + TimeDelta::days(30), ..plan(8) };
    branch.head_office.with(|s| {
        s.mood = Mood::Good;
        s.fleet.rotate_root_key(now).unwrap();
        s.plan = Some(s.fleet.order(&next, now).unwrap());
        s.serve_metadata();
    });
    branch.app.poll.once().await.unwrap();
    assert_eq!(kept(&branch).await, Some(8), "{}", branch.status().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_plan_key_after_a_theft_begins_its_serials_anew() {
    let branch = victim().await;
    // The thief orders by the highest serial that there is: nothing of head office would be accepted any more.
    branch.head_office.offer(&plan(u64::try_from(i64::MAX).unwrap()));
    branch.app.poll.once().await.unwrap();
    let stolen = branch.head_office.with(|s| {
        let stolen = s.fleet.rotate_plan_key(SystemClock.now()).unwrap();
        s.serve_metadata();
        stolen
    });
    branch.head_office.offer(&plan(8));
    branch.app.poll.once().await.unwrap();
    assert_eq!(kept(&branch).await, Some(8));
    branch.head_office.with(|s| s.plan = Some(trust::plans::sign(&plan(9), &[&stolen]).unwrap()));
    branch.app.poll.once().await.unwrap();
    assert_eq!(kept(&branch).await, Some(8), "the thief's key is over");
    assert_says(&refused(&branch).await, "not signed by any known plan key", trust::Why::PlanUnknownKey);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_from_before_there_were_signatures_is_not_followed_and_not_destroyed() {
    let branch = Branch::enrolled().await;
    let client = connection(&branch.app.pool).await.unwrap();
    let envelope = serde_json::to_string(&Envelope::unsigned(PLAN_PAYLOAD_TYPE, &plan(7)).unwrap()).unwrap();
    let insert = "insert into plan (serial, issued, expires, envelope, accepted) values (7, now(), now(), $1, now())";
    client.execute(insert, &[&envelope]).await.unwrap();
    assert_eq!(kept(&branch).await, None);
    let token = branch.enrol("till-1").await;
    let sync: wire::v1::sync::Sync = branch.ask("/v1/sync", &token).await.json().await.unwrap();
    assert_eq!(sync.plan, None);
    branch.head_office.offer(&plan(5));
    branch.app.poll.once().await.unwrap();
    assert_eq!(kept(&branch).await, Some(5), "what was not signed is no floor");
    assert_eq!(client.query_one("select envelope from plan", &[]).await.unwrap().get::<_, String>(0), envelope);
}
