//! What a plan may and may not make a terminal do.

use crate::support::release::{v1, v2};
use crate::support::{Port, Rig, TestRelease};
use chrono::TimeDelta;
use fleet_types::Slot;
use fleet_types::UpdateState as U;

/// Some polls later nothing has begun.
fn assert_untouched(mut rig: Rig, what: &str) {
    rig.turns(40);
    assert_eq!(rig.state(), "idle", "{what}");
    assert!(rig.world.lock().torrents.is_empty() && rig.world.lock().slot_writes == 0, "{what}");
}

#[test]
fn a_plan_of_another_branch_for_another_terminal_or_out_of_its_time_is_not_acted_on() {
    let rig = Rig::new(&v1(), &v2());
    rig.world.edit_plan(|p| p.branch = "south".parse().expect("a name"));
    assert_untouched(rig, "another branch");
    let rig = Rig::new(&v1(), &v2());
    rig.world.edit_plan(|p| p.steps[0].terminals = vec!["till-2".parse().expect("a name")]);
    assert_untouched(rig, "another terminal");
    let rig = Rig::new(&v1(), &v2());
    rig.world.edit_plan(|p| p.expires = p.issued - TimeDelta::hours(1));
    assert_untouched(rig, "expired");
    let rig = Rig::new(&v1(), &v2());
    rig.world.edit_plan(|p| p.format = 2);
    assert_untouched(rig, "a later format");
}

#[test]
fn replayed_older_plan() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("confirmed");
    let old = TestRelease::new("2.5.0");
    rig.world.offer(&old);
    rig.world.edit_plan(|p| p.serial = 50);
    rig.turns(40);
    assert_eq!(rig.journal().floor, 100);
    assert_eq!(rig.journal().state.update().map(|u| u.version.to_string()), Some("2.0.0".into()));
    // The floor is on the disk.
    rig.cut(crate::support::Cut::Process);
    rig.turns(40);
    assert_eq!(rig.world.running(), Slot::B);
    assert_eq!(rig.state(), "confirmed");
}

#[test]
fn rollback() {
    let older = TestRelease::new("0.9.0");
    let rig = Rig::new(&v1(), &older);
    assert_untouched(rig, "a lower version");
    let mut rig = Rig::new(&v1(), &older);
    rig.world.edit_plan(|p| p.steps[0].downgrade = true);
    rig.until("confirmed");
    rig.assert_confirmed(&older, Slot::B);
}

#[test]
fn the_version_that_runs_is_not_installed_again() {
    let mut rig = Rig::new(&v1(), &v1());
    rig.turns(40);
    assert_eq!(rig.state(), "confirmed", "its slot was compared with the plan");
    assert!(rig.world.lock().torrents.is_empty() && rig.world.lock().slot_writes == 0);
}

#[test]
fn a_release_that_does_not_fit_is_refused_once_for_each_plan() {
    let cases = [("requires = \">=1.5.0\"", "requires"), ("min_agent = \"99.0.0\"", "agent-too-old")];
    for (line, code) in cases {
        let release = TestRelease::with("2.0.0", line, line);
        let mut rig = Rig::new(&v1(), &release);
        rig.until("failed");
        assert_eq!(rig.reason(), code);
        rig.turns(60);
        assert_eq!(rig.world.moves().iter().filter(|(_, to)| *to == U::Failed).count(), 1, "{code}");
        rig.world.plan(&[&release]);
        rig.until_that("looked at again", |rig| rig.journal().floor == 101 && rig.state() == "failed");
        rig.world.offer(&v2());
        rig.until("confirmed");
    }
}

#[test]
fn a_release_for_other_hardware_is_refused() {
    let mut other = TestRelease::with("2.0.0", "", "other hardware");
    let text = String::from_utf8(other.manifest).expect("text").replace("[\"kiosk\"]", "[\"tablet\"]");
    other.manifest = text.into_bytes();
    let mut rig = Rig::new(&v1(), &other);
    rig.until("failed");
    assert_eq!(rig.reason(), "incompatible");
}

#[test]
fn mix_and_match() {
    // The plan's payload is not the one of the manifest that the plan names.
    let mut mixed = v2();
    mixed.manifest = TestRelease::with("2.0.0", "", "another payload").manifest;
    let mut rig = Rig::new(&v1(), &mixed);
    rig.until("failed");
    assert_eq!(rig.reason(), "manifest-mismatch");
    assert!(rig.world.lock().torrents.is_empty());
}

#[test]
fn what_the_mirror_forges_is_refused_and_the_genuine_thing_taken() {
    type Forge = fn(&mut TestRelease);
    let forgeries: [(Forge, &str); 2] = [
        (|r| r.index[200] ^= 1, "index-refused"),
        (|r| r.torrent = TestRelease::new("6.6.6").torrent, "torrent-refused"),
    ];
    for (forge, code) in forgeries {
        let mut forged = v2();
        forge(&mut forged);
        let mut rig = Rig::new(&v1(), &forged);
        rig.turns(4);
        assert_eq!(rig.state(), "assigned");
        assert_eq!(rig.journal().trouble.map(|t| t.verdict.reason.code), Some(code.into()));
        rig.world.lock().releases[0] = v2();
        rig.until("confirmed");
        rig.assert_confirmed(&v2(), Slot::B);
    }
}

#[test]
fn a_superseded_update_is_withdrawn_without_a_trace_and_the_new_one_taken() {
    for state in ["assigned", "fetching", "installing", "ready", "activating"] {
        let mut rig = Rig::new(&v1(), &v2());
        rig.until(state);
        let newer = TestRelease::new("3.0.0");
        // Nothing else moves until the new plan was seen.
        rig.world.offer(&newer);
        rig.world.advance(std::time::Duration::from_secs(60));
        rig.until("withdrawn");
        assert_eq!(rig.reason(), "superseded");
        assert!(!rig.seen().contains("trying"), "{state}");
        rig.until("confirmed");
        rig.assert_confirmed(&newer, Slot::B);
        rig.until_that("the old artifact gone", |rig| !rig.journal().artifacts.contains_key(&v2().artifact.sha256));
        assert!(!rig.settings.engine.download_dir.join(v2().artifact.file_name()).exists());
        assert!(
            !rig.settings.paths.data_dir.join("updates").join(v2().artifact.sha256.to_string()).exists()
                || state == "assigned"
        );
    }
}

#[test]
fn a_plan_that_is_issued_again_changes_nothing_under_way() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("fetching");
    rig.world.plan(&[&v2()]);
    rig.world.advance(std::time::Duration::from_secs(60));
    rig.until("confirmed");
    assert!(!rig.seen().contains("withdrawn"));
    rig.assert_confirmed(&v2(), Slot::B);
}

#[test]
fn another_artifact_of_the_same_payload_supersedes_nothing() {
    for state in ["assigned", "fetching", "installing", "ready", "activating"] {
        let mut rig = Rig::new(&v1(), &v2());
        rig.until(state);
        let writes = rig.world.writes();
        rig.world.offer(&v2().encoded_again());
        rig.world.advance(std::time::Duration::from_secs(60));
        rig.until("confirmed");
        assert!(!rig.seen().contains("withdrawn"), "{state}: {:?}", rig.seen);
        assert_eq!(rig.seen.iter().filter(|s| **s == "assigned").count(), 1, "{state}: it began again");
        if !["assigned", "fetching"].contains(&state) {
            assert_eq!(rig.world.writes(), writes, "{state}: the slot was written again");
        }
        rig.assert_confirmed(&v2(), Slot::B);
    }
}

#[test]
fn a_mirror_that_withholds_the_plan_cannot_stop_what_is_under_way() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("fetching");
    rig.world.lock().plan = None;
    rig.until("confirmed");
}

#[test]
fn an_artifact_is_seeded_until_its_retention_is_over() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("confirmed");
    rig.turns(50);
    assert_eq!(rig.world.lock().torrents.len(), 1, "still wanted");
    rig.world.plan(&[]);
    rig.turns(50);
    assert_eq!(rig.world.lock().torrents.len(), 1, "kept for the retention");
    rig.world.advance(std::time::Duration::from_secs(73 * 3600));
    rig.until_that("the artifact gone", |rig| rig.world.lock().torrents.is_empty());
    assert!(rig.journal().artifacts.is_empty());
}

#[test]
fn reports_wait_for_a_silent_branch_and_arrive_without_gaps() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("fetching");
    rig.world.fail(Port::Report, u32::MAX);
    rig.until("confirmed");
    let before = rig.world.lock().reports.len();
    rig.world.heal();
    rig.turns(5);
    assert!(rig.world.lock().reports.len() > before);
    rig.world.assert_reported(&[U::Installing, U::Ready, U::Activating, U::Trying, U::Confirmed]);
}

#[test]
fn the_identity_is_kept_for_its_owner_only_and_used_after_a_restart() {
    use std::os::unix::fs::PermissionsExt;
    let mut rig = Rig::new(&v1(), &v2());
    rig.turns(2);
    for file in ["identity.toml", "identity-key.pem"] {
        let file = rig.settings.paths.state_dir.join(file);
        assert_eq!(file.metadata().map(|m| m.permissions().mode() & 0o777).ok(), Some(0o600));
    }
    rig.cut(crate::support::Cut::Process);
    assert!(!rig.world.path("join-token").exists(), "it is used");
    rig.until("confirmed");
    assert_eq!(rig.world.lock().certified.len(), 1);
}

#[test]
fn what_changed_of_the_terminal_is_told_after_the_next_boot() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("confirmed");
    rig.turns(3);
    let told = |rig: &Rig| rig.world.told_facts();
    assert!(told(&rig).is_empty(), "nothing changed since it enrolled");
    rig.world.lock().fake_slot_length = Some(350_000);
    rig.cut(crate::support::Cut::Power);
    rig.turns(5);
    assert_eq!(told(&rig), [350_000]);
}
