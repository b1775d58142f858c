//! The rules that need the fleet, the calendar or the shop's own command, over the API.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use fleet_types::ReleaseState;
use release::Policy;
use serde_json::json;
use service_kit::database::connection;
use service_kit::server::Role;
use test_kit::wait_for;
use uuid::Uuid;
use wire::v1::fleet::{Branch, BranchSpace};
use wire::v1::releases::{Finding, Release, Verdict};
use wire::{Code, Reason, ReasonCode};

use crate::api::refusal;
use crate::support::archive::{Recipe, pack};
use crate::support::tus::upload;
use crate::support::{Office, PATIENCE, begin, published};

async fn uploaded(office: &Office, recipe: &Recipe<'_>) -> Uuid {
    let file = pack(office.dir.path(), recipe);
    upload(&office.as_role(Role::ReleaseManager), &std::fs::read(file).unwrap()).await
}

fn finding(release: &Release, rule: &str) -> Finding {
    release.report.as_ref().unwrap().findings.iter().find(|f| f.id == rule).unwrap().clone()
}

async fn with_policy(policy: &str) -> Office {
    let policy = Policy::parse(policy).unwrap();
    let office = Office::with(|settings| settings.policy = policy).await;
    office.branch("north", "kiosk-x86", &["till-1"]).await;
    office
}

async fn approve(
    office: &Office,
    id: Uuid,
    body: serde_json::Value,
) -> Result<Release, service_kit::client::ClientError> {
    office.as_role(Role::ReleaseManager).post(&format!("/v1/releases/{id}/approve"), &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_grew_waits_until_somebody_accepts_it_with_a_reason() {
    let office = with_policy("[size-growth]\nwarn_above_percent = 101\n").await;
    published(&office, "kiosk", "0.9.0", "kiosk-x86").await;
    let id = uploaded(&office, &Recipe { length: 400_000, ..Recipe::default() }).await;
    let release = office.wait_for_state(id, ReleaseState::AwaitingSignature).await;
    assert_eq!(release.reasons, [Reason::of(ReasonCode::WarningsOpen).with("rules", "size-growth")]);
    assert_eq!(release.why(), "Warnings to be accepted: size-growth.");
    let warned = finding(&release, "size-growth");
    assert_eq!(warned.verdict, Verdict::Warn);
    assert!(warned.cause.contains("133 % of the 293.0 KiB of 0.9.0"), "{warned:?}");
    for none in [json!({}), json!({ "reason": " \n" })] {
        assert_eq!(refusal(approve(&office, id, none).await), Code::BadField);
    }
    assert_eq!(office.release(id).await.state, ReleaseState::AwaitingSignature);
    let release = approve(&office, id, json!({ "reason": "New product films." })).await.unwrap();
    assert!([ReleaseState::Approved, ReleaseState::Publishing].contains(&release.state), "{release:?}");
    let client = connection(&office.pool().await).await.unwrap();
    let row =
        client.query_one("SELECT approved_by, approved_reason FROM releases WHERE id = $1", &[&id]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("release-manager", "New product films."));
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_the_fleet_decide_whether_a_release_can_be_reached() {
    let office = Office::start().await;
    let mut north = office.branch("north", "kiosk-x86", &["till-1", "till-2", "till-3"]).await;
    let mut south = office.branch("south", "other-model", &["till-9"]).await;
    north.runs("till-1", "2.0.0").await;
    north.runs("till-2", "2.3.0").await;
    north.runs("till-3", "2.3.0").await;
    south.runs("till-9", "0.1.0").await;
    let recipe = |version| Recipe { version, requires: ">=2.2.0", ..Recipe::default() };
    let id = uploaded(&office, &recipe("2.4.0")).await;
    let refused = office.wait_for_state(id, ReleaseState::Rejected).await;
    let found = finding(&refused, "upgrade-path");
    assert_eq!(found.verdict, Verdict::Fail);
    assert!(found.cause.contains("1 terminal cannot reach: north/till-1 (2.0.0)."), "{found:?}");
    // A release that bridges the gap makes it two steps, which must be accepted.
    published(&office, "kiosk", "2.2.0", "kiosk-x86").await;
    let id = uploaded(&office, &recipe("2.4.1")).await;
    let waits = office.wait_for_state(id, ReleaseState::AwaitingSignature).await;
    let found = finding(&waits, "upgrade-path");
    assert!(found.cause.contains("1 terminal must take 2 steps, 2.2.0 first: north/till-1 (2.0.0)"), "{found:?}");
    north.runs("till-1", "2.2.0").await;
    let id = uploaded(&office, &recipe("2.4.2")).await;
    let found = wait_for("it to be judged", PATIENCE, async || {
        let release = office.release(id).await;
        release.report.is_some().then(|| finding(&release, "upgrade-path")).ok_or(release.state)
    })
    .await;
    assert_eq!(found.verdict, Verdict::Pass, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_report_their_stores_and_those_too_small_are_named() {
    let office = Office::start().await;
    let mut north = office.branch("north", "kiosk-x86", &["till-1"]).await;
    let mut west = office.branch("west", "other-model", &["till-1"]).await;
    north.store(299_999, 100).await;
    west.store(1, 1).await;
    let judged = async |version, state| {
        let id = uploaded(&office, &Recipe { version, ..Recipe::default() }).await;
        finding(&office.wait_for_state(id, state).await, "branch-space")
    };
    let store = async |name: &str| office.admin().get::<Branch>(&format!("/v1/branches/{name}")).await.unwrap().store;
    let space = BranchSpace { capacity_bytes: 299_999, free_bytes: 100, held_bytes: 0, reported: begin() };
    assert_eq!(store("north").await, Some(space));
    office.add_branch("east").await;
    assert_eq!(store("east").await, None, "it never reported");
    let found = judged("1.0.0", ReleaseState::Rejected).await;
    assert_eq!(found.verdict, Verdict::Fail);
    assert!(found.cause.contains("north needs 293.0 KiB, 1 byte more than it has"), "{found:?}");
    north.store(u64::MAX, 299_999).await;
    let found = judged("1.0.1", ReleaseState::AwaitingSignature).await;
    assert_eq!(found.verdict, Verdict::Warn);
    assert!(found.cause.contains("1 branch must wait") && !found.cause.contains("west"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_in_a_freeze_waits_and_can_be_approved_only_after_it() {
    // The clock of these tests begins at 08:00 UTC on the first of January.
    let office = with_policy(
        "[[freeze-calendar.period]]\nstarts = \"0 0 6 1 1 *\"\nlasts_hours = 12\nreason = \"Stock-taking.\"\n",
    )
    .await;
    let id = uploaded(&office, &Recipe::default()).await;
    let release = office.wait_for_state(id, ReleaseState::AwaitingSignature).await;
    let found = finding(&release, "freeze-calendar");
    assert_eq!(found.verdict, Verdict::Fail);
    assert!(found.cause.contains("Stock-taking.") && found.remedy.contains("2030-01-01 18:00:00 +00:00"), "{found:?}");
    assert_eq!(release.reasons, [Reason::new(ReasonCode::Frozen, found.remedy)]);
    let reason = json!({ "reason": "The freeze is over." });
    assert_eq!(refusal(approve(&office, id, reason.clone()).await), Code::Frozen);
    assert_eq!(office.release(id).await.state, ReleaseState::AwaitingSignature);
    office.clock.advance(TimeDelta::hours(10));
    let release = approve(&office, id, reason).await.unwrap();
    assert_eq!(finding(&release, "freeze-calendar").verdict, Verdict::Pass);
    // Whatever fails beside a freeze is rejected as ever.
    office.clock.set(begin());
    let id = uploaded(&office, &Recipe { version: "2.0.0", notes: "", ..Recipe::default() }).await;
    office.wait_for_state(id, ReleaseState::Rejected).await;
}

/// A program in `dir` that every user may run.
fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// What the rule `external` says with this script as the shop's own command.
async fn external(dir: &Path, name: &str, text: &str, timeout: u32) -> Finding {
    let command = script(dir, name, text);
    let policy = format!("[external]\ncommand = [{command:?}]\ntimeout_seconds = {timeout}\nmax_output_bytes = 500\n");
    let office = with_policy(&policy).await;
    let id = uploaded(&office, &Recipe::default()).await;
    let release = wait_for("it to be judged", PATIENCE, async || {
        let release = office.release(id).await;
        if release.report.is_some() { Ok(release) } else { Err(release.state) }
    })
    .await;
    let found = finding(&release, "external");
    if found.verdict > Verdict::Warn {
        assert_eq!(release.state, ReleaseState::Rejected);
    }
    found
}

fn folder() -> tempfile::TempDir {
    let dir = crate::support::daemons::open_dir();
    // The unprivileged user writes here.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    dir
}

/// Whether the process of which the script wrote the id has ended; a zombie has.
fn has_ended(file: &Path) -> Result<(), String> {
    let id = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    match std::fs::read_to_string(format!("/proc/{}/stat", id.trim())) {
        Ok(stat) if !stat.contains(") Z ") => Err(stat),
        _ => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shops_own_command_reads_the_manifest_and_decides() {
    let dir = folder();
    let text = r#"version=$(sed 's/.*"version":"\([^"]*\)".*/\1/'); echo "{\"verdict\":\"warn\",\"cause\":\"$version as $(id -u), $(env | wc -l)\",\"remedy\":\"Ask.\"}""#;
    let found = external(dir.path(), "warns", text, 30).await;
    // PATH, LC_ALL and what the shell itself sets.
    assert_eq!(found.verdict, Verdict::Warn, "{found:?}");
    assert!(found.cause.starts_with("1.0.0 as 65534, "), "{found:?}");
    let text = r#"echo '{"verdict":"pass","cause":"Agreed."}'"#;
    let found = external(dir.path(), "passes", text, 30).await;
    assert_eq!((found.verdict, found.cause.as_str()), (Verdict::Pass, "Agreed."));
    let text = r#"echo '{"verdict":"fail","cause":"Not on a Friday.","remedy":"Wait."}'"#;
    let found = external(dir.path(), "fails", text, 30).await;
    assert_eq!((found.verdict, found.remedy.as_str()), (Verdict::Fail, "Wait."));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_does_not_answer_as_it_should_never_passes() {
    let dir = folder();
    for (name, text, says) in [
        ("garbage", "head -c 100 /dev/urandom", "not the expected JSON"),
        ("silent", "", "not the expected JSON"),
        ("talker", "yes '{\"verdict\":\"pass\"}'", "more than 500 bytes"),
        (
            "bad-end",
            "echo '{\"verdict\":\"pass\"}'; echo no licence >&2; exit 3",
            "exit status: 3, and said: no licence",
        ),
        ("killed", "echo '{\"verdict\":\"pass\"}'; kill -9 $$", "signal: 9"),
    ] {
        let found = external(dir.path(), name, text, 30).await;
        assert_eq!(found.verdict, Verdict::Unknown, "{name}: {found:?}");
        assert!(found.cause.contains(says), "{name}: {found:?}");
    }
    std::fs::remove_file(dir.path().join("silent")).unwrap();
    let office = with_policy("[external]\ncommand = [\"/nonexistent/check\"]\n").await;
    let id = uploaded(&office, &Recipe::default()).await;
    let found = finding(&office.wait_for_state(id, ReleaseState::Rejected).await, "external");
    assert!(found.cause.contains("cannot be started"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_hangs_is_killed_with_all_its_children() {
    let dir = folder();
    let pid = |name: &str| dir.path().join(name).display().to_string();
    let hangs = format!("echo $$ > {}; exec sleep 1000", pid("hangs.pid"));
    let forks = format!("sleep 1000 & echo $! > {}; wait", pid("forks.pid"));
    for (name, text) in [("hangs", hangs), ("forks", forks)] {
        let found = external(dir.path(), name, &text, 2).await;
        assert_eq!(found.verdict, Verdict::Unknown, "{found:?}");
        assert!(found.cause.contains("did not end within 2 seconds"), "{found:?}");
    }
    // This one answers and leaves a child behind that holds its output open.
    let leaves = format!("sleep 1000 & echo $! > {}; echo '{{\"verdict\":\"pass\"}}'", pid("leaves.pid"));
    let found = external(dir.path(), "leaves", &leaves, 30).await;
    assert_eq!(found.verdict, Verdict::Pass, "{found:?}");
    for name in ["hangs.pid", "forks.pid", "leaves.pid"] {
        wait_for(name, PATIENCE, async || has_ended(&dir.path().join(name))).await;
    }
}
