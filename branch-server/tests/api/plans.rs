//! Accepting plans from head office, end to end up to the database; the rules themselves are unit tests.

use std::sync::Arc;

use branch_server::upstream::head_office::HeadOffice as _;
use chrono::{TimeDelta, Utc};
use fleet_types::Version;
use service_kit::database::connection;
use service_kit::{Clock, SystemClock};
use test_kit::wait_for;
use wire::v1::plan::{ArtifactRef, PayloadRef, Plan, Step};
use wire::v1::reports::{ReasonCode, Report};

use crate::head_office::Mood;
use crate::support::{Branch, Options, PATIENCE};

pub fn plan(serial: u64) -> Plan {
    let now: chrono::DateTime<Utc> = SystemClock.now();
    let step = Step {
        terminals: vec!["till-1".parse().unwrap()],
        product: "till".parse().unwrap(),
        version: Version::new(2, 0, 0),
        manifest: [1; 32].into(),
        payload: PayloadRef { name: "root".into(), sha256: [2; 32].into(), length: 1 << 20 },
        artifact: ArtifactRef {
            sha256: [3; 32].into(),
            length: 1 << 19,
            index_sha256: [4; 32].into(),
            index_length: 176,
            info_hash: [5; 20].into(),
        },
        downgrade: false,
    };
    let expires = now + TimeDelta::days(30);
    Plan {
        format: 1,
        branch: "north".parse().unwrap(),
        serial,
        issued: now,
        expires,
        steps: vec![step],
        packages: Vec::new(),
        audit: None,
    }
}

/// A plan whose time is over.
fn expired(serial: u64) -> Plan {
    let now = SystemClock.now();
    Plan { issued: now - TimeDelta::days(1), expires: now - TimeDelta::seconds(1), ..plan(serial) }
}

async fn offer(branch: &Branch, plan: &Plan) {
    branch.head_office.offer(plan);
    branch.app.poll.once().await.unwrap();
}

pub async fn kept(branch: &Branch) -> Option<u64> {
    let client = connection(&branch.app.pool).await.unwrap();
    branch_server::db::plan::read(&client).await.unwrap().map(|p| p.serial)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_plan_stays_and_a_refused_one_says_why() {
    let branch = Branch::enrolled().await;
    offer(&branch, &plan(7)).await;
    assert_eq!(kept(&branch).await, Some(7));
    for (offered, code, reason) in [
        (plan(6), "plan-replayed", "serial 6; plan 7 was accepted before"),
        (Plan { branch: "south".parse().unwrap(), ..plan(8) }, "plan-wrong-branch", "branch south"),
        (expired(8), "plan-expired", "The plan expired"),
    ] {
        offer(&branch, &offered).await;
        assert_eq!(kept(&branch).await, Some(7));
        let status = branch.status().await;
        let refused = &status["head_office"]["plan_refused"];
        assert!(refused["text"].as_str().is_some_and(|text| text.contains(reason)), "{refused}");
        assert_eq!(refused["code"], code);
    }
    offer(&branch, &plan(9)).await;
    assert_eq!(kept(&branch).await, Some(9));
    assert_eq!(branch.status().await["head_office"].get("plan_refused"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_plan_and_its_end_are_reported_upwards_once_each() {
    let branch = Branch::enrolled().await;
    offer(&branch, &plan(7)).await;
    let deliver = async || {
        while branch_server::reports::relay::deliver(
            &branch.app.pool,
            &*branch.app.head_office,
            200,
            branch.app.clock.now(),
        )
        .await
        .unwrap()
            != branch_server::reports::relay::Delivery::Nothing
        {}
        branch.head_office.with(|s| {
            let refusals = s.counted.iter().filter_map(|n| match &n.report {
                Report::PlanRefused { serial, reason } => Some((*serial, reason.clone())),
                _ => None,
            });
            refusals.collect::<Vec<_>>()
        })
    };
    assert_eq!(deliver().await, [], "nothing was refused");
    for _ in 0..3 {
        offer(&branch, &plan(6)).await;
    }
    let told = deliver().await;
    assert!(matches!(&told[..], [(Some(6), Some(why))] if why.text.contains("plan 7 was accepted before")), "{told:?}");
    assert!(told[0].1.as_ref().is_some_and(|why| why.code == ReasonCode::PlanReplayed), "{told:?}");
    offer(&branch, &Plan { format: 9, ..plan(8) }).await;
    assert!(matches!(&deliver().await[1..], [(Some(8), Some(why))] if why.text.contains("format 9")));
    offer(&branch, &plan(9)).await;
    assert_eq!(deliver().await[2..], [(None, None)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_an_earlier_version_recorded_gets_its_code() {
    let branch = Branch::enrolled().await;
    offer(&branch, &plan(7)).await;
    offer(&branch, &plan(6)).await;
    let client = connection(&branch.app.pool).await.unwrap();
    let code = async || branch.status().await["head_office"]["plan_refused"]["code"].clone();
    let stale = r#"{"code":"plan-expired","params":{},"text":"The plan expired."}"#;
    for left in ["NULL".to_owned(), format!("'{stale}'")] {
        client.execute(&format!("UPDATE site SET plan_refused_json = {left}"), &[]).await.unwrap();
        assert_eq!(code().await, "unclassified", "{left}");
        offer(&branch, &plan(6)).await;
        assert_eq!(code().await, "plan-replayed", "{left}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_office_that_lost_its_plan_takes_none_away() {
    let branch = Branch::enrolled().await;
    offer(&branch, &plan(7)).await;
    branch.head_office.with(|s| s.plan = None);
    branch.app.poll.once().await.unwrap();
    assert_eq!(kept(&branch).await, Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_from_head_office_brings_the_plan_before_the_next_poll() {
    let branch = Branch::start(Options::default()).await;
    branch.start_jobs();
    wait_for("the event stream", PATIENCE, async || match branch.head_office.call() {
        0 => Err("nobody listens"),
        _ => Ok(()),
    })
    .await;
    branch.head_office.offer(&plan(7));
    branch.head_office.call();
    wait_for("the plan", PATIENCE, async || kept(&branch).await.filter(|s| *s == 7).ok_or("none yet")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_enrols_once_and_keeps_its_identity_over_a_restart() {
    use std::os::unix::fs::PermissionsExt;
    let branch = Branch::enrolled().await;
    for name in ["identity.toml", "identity-key.pem"] {
        let file = branch.dir.path().join("state").join(name);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let branch = branch.restart(Options::default()).await;
    branch.app.poll.once().await.unwrap();
    assert_eq!(branch.head_office.with(|s| s.enrolments), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_identity_has_a_sentence_and_a_new_join_token_heals_it() {
    let branch = Branch::enrolled().await;
    branch.head_office.with(|s| s.forgot_branch = true);
    let error = branch.app.poll.once().await.unwrap_err();
    assert!(error.to_string().contains("filial branch add"), "{error}");
    // It tried its join token, which this head office took: from then on it is known again.
    assert_eq!(branch.head_office.with(|s| s.enrolments), 2);
    branch.head_office.with(|s| s.forgot_branch = false);
    branch.app.poll.once().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_the_enrolment_that_is_lost_is_asked_for_again_with_the_same_key() {
    let branch = Branch::start(Options::default()).await;
    branch.head_office.with(|s| s.mood = Mood::StoreThenBreak);
    branch.app.poll.once().await.unwrap_err();
    let file = branch.dir.path().join("state/identity-key.pem");
    let key = std::fs::read(&file).unwrap();
    assert!(!branch.dir.path().join("state/identity.toml").exists());
    branch.head_office.with(|s| s.mood = Mood::Good);
    // Also after a crash.
    let branch = branch.restart(Options::default()).await;
    branch.app.poll.once().await.unwrap();
    assert_eq!(std::fs::read(branch.dir.path().join("state/identity-key.pem")).unwrap(), key);
    assert_eq!(branch.head_office.with(|s| s.enrolments), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ages_or_expired_is_renewed_by_the_key_alone() {
    use trust::certificates::BRANCH_LIFETIME;
    let branch = Branch::start(Options::default()).await;
    // Issued so long ago that it is old, and then that it is over: the join token is not needed again.
    branch.head_office.with(|s| s.backdated = BRANCH_LIFETIME * 3 / 4);
    branch.app.poll.once().await.unwrap();
    assert_eq!(branch.head_office.with(|s| s.enrolments), 2, "it was old at once, and renewed after it was used");
    std::fs::remove_file(branch.dir.path().join("join")).unwrap();
    branch.head_office.with(|s| s.backdated = TimeDelta::zero());
    branch.app.poll.once().await.unwrap();
    branch.app.poll.once().await.unwrap();
    assert_eq!(branch.head_office.with(|s| s.enrolments), 3, "the newest is young");

    // As it lies on the disk of a server that was off for years.
    let file = branch.dir.path().join("state/identity.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let key = trust::certificates::TlsKey::read(&branch.dir.path().join("state/identity-key.pem")).unwrap();
    let expired = branch.head_office.with(|s| {
        let long_ago = SystemClock.now() - BRANCH_LIFETIME - TimeDelta::days(9);
        s.authority.issue_branch(&key.request().unwrap(), &"north".parse().unwrap(), long_ago).unwrap()[0].clone()
    });
    let kept: toml::Table = toml::from_str(&text).unwrap();
    let young = kept["certificate"].as_str().unwrap().to_owned();
    let mut old = kept;
    old["certificate"] = trust::certificates::certificate_to_pem(&expired).into();
    crate::support::write(&file, toml::to_string(&old).unwrap());
    let branch = branch.restart(Options::default()).await;
    assert_eq!(branch.app.head_office.age(), Some(branch_server::upstream::identity::Age::Over));
    branch.app.poll.once().await.unwrap();
    assert_eq!(branch.head_office.with(|s| s.enrolments), 4);
    assert!(!std::fs::read_to_string(branch.dir.path().join("state/identity.toml")).unwrap().contains(&young[30..90]));
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_head_office_gets_neither_token_nor_certificate() {
    let branch = Branch::enrolled().await;
    let stranger = crate::head_office::HeadOfficeDouble::start().await;
    let settings = branch_server::config::HeadOfficeSettings {
        url: format!("https://{}", stranger.address),
        ..branch.app.settings.head_office.clone()
    };
    let fresh = tempfile::tempdir().unwrap();
    for folder in [branch.dir.path().join("state"), fresh.path().to_owned()] {
        let time = trust::certificates::FleetTime::new(Arc::new(SystemClock), chrono::DateTime::UNIX_EPOCH);
        let there = branch_server::upstream::client::HttpHeadOffice::new(&settings, &folder, time).unwrap();
        for error in [there.sync().await.err(), there.enrol().await.err(), there.renew().await.err()] {
            let text = service_kit::edge::chain(&error.unwrap());
            assert!(text.contains("is not trusted") || text.contains("has not enrolled"), "{text}");
        }
    }
    assert_eq!(stranger.with(|s| (s.enrolments, s.deliveries)), (0, 0));
    assert!(!fresh.path().join("identity.toml").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_belongs_to_one_branch() {
    let branch = Branch::enrolled().await;
    std::fs::remove_file(branch.dir.path().join("state/identity.toml")).unwrap();
    branch.head_office.with(|s| s.branch = Some("south"));
    let branch = branch.restart(Options::default()).await;
    let error = branch.app.poll.once().await.unwrap_err();
    assert!(error.to_string().contains("its database belongs to branch north"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn head_office_away_is_shown_and_over_when_it_answers_again() {
    let branch = Branch::enrolled().await;
    branch.head_office.with(|s| s.mood = Mood::Away);
    branch.start_jobs();
    let reachable = async || branch.status().await["head_office"]["reachable"].as_bool();
    wait_for("the trouble", PATIENCE, async || if reachable().await == Some(false) { Ok(()) } else { Err("none") })
        .await;
    assert!(branch.status().await["head_office"]["trouble"].is_string());
    branch.head_office.with(|s| s.mood = Mood::Good);
    wait_for("its end", PATIENCE, async || if reachable().await == Some(true) { Ok(()) } else { Err("still") }).await;
}
