//! An agent lives through its own rollback: it reads what the one before it and the one after it wrote, and on trial it
//! writes what the version that installed it reads.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use crate::support::release::{v1, v2};
use crate::support::{Cut, Rig, TestRelease};
use fleet_types::Slot;
use serde_json::{Value, json};
use terminal_agent::agent::Agent;
use terminal_agent::memory::journal::{FORMAT, OLDEST};
use terminal_agent::memory::keeper::{JournalError, load};
use terminal_agent::model::state::State;
use terminal_agent::model::update::Retry;
use terminal_agent::ports::DropInEnd;
use wire::v1::reports::Report;

fn write(path: &Path, content: &str) {
    File::create(path).unwrap().write_all(content.as_bytes()).unwrap();
}

fn on_disk(rig: &Rig) -> Value {
    serde_json::from_slice(&std::fs::read(rig.settings.paths.journal()).unwrap()).unwrap()
}

/// Another agent wrote the journal meanwhile.
fn rewrite(rig: &mut Rig, edit: impl FnOnce(&mut Value)) {
    rig.cut(Cut::Process);
    let mut journal = on_disk(rig);
    edit(&mut journal);
    write(&rig.settings.paths.journal(), &journal.to_string());
}

/// What an agent that knew format 1 alone wrote, at the end of a trial, and no word more but `position`, which it passes over: without
/// that number an agent whose clock is lost in the trial would sign states that count as old.
fn assert_format_1(journal: &Value) {
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let mut expected = [
        "format",
        "state",
        "since",
        "trouble",
        "waiting",
        "memory",
        "floor",
        "announced",
        "facts",
        "refuses",
        "artifacts",
        "packages",
        "newest",
        "position",
        "reports",
    ];
    expected.sort_unstable();
    assert_eq!((&journal["format"], keys(journal)), (&json!(1), expected.map(str::to_owned).to_vec()));
    assert_eq!(keys(&journal["state"]), ["boot", "state", "total", "update"]);
    assert_eq!(keys(&journal["state"]["boot"]), ["boot_id", "failed_before", "since", "verdict"]);
    assert!(!journal.to_string().contains("evidence"));
}

#[test]
fn a_journal_is_begun_in_the_oldest_format_until_its_slot_is_known_to_be_confirmed() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.world.edit_plan(|p| p.steps[0].terminals.clear());
    rig.turns(3);
    assert_eq!((rig.state(), rig.journal().format), ("idle", OLDEST));
    rig.world.plan(&[&v2()]);
    rig.until("assigned");
    assert_eq!(rig.journal().format, FORMAT);
}

/// N-1 installs N: N writes as N-1 does until it is confirmed.
#[test]
fn on_trial_the_format_of_the_agent_that_installed_it_is_written() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("activating");
    rewrite(&mut rig, |j| j["format"] = json!(1));
    rig.world.lock().drop_ins.insert("2.0.0".into(), DropInEnd::NotYet);
    rig.until("trying");
    rig.turns(5);
    assert_format_1(&on_disk(&rig));
    rig.world.lock().drop_ins.clear();
    rig.until("confirmed");
    assert_eq!(on_disk(&rig)["format"], FORMAT, "formats move up with confirmed");
    rig.assert_confirmed(&v2(), Slot::B);
}

/// N-1 installs N, which is rolled back: N-1 finds what it can read.
#[test]
fn after_a_rollback_the_agent_before_finds_its_own_format() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("activating");
    rewrite(&mut rig, |j| j["format"] = json!(1));
    rig.world.lock().drop_ins.insert("2.0.0".into(), DropInEnd::Unhealthy);
    rig.until("trying");
    rig.until_that("the old slot", |rig| rig.world.running() == Slot::A);
    assert_format_1(&on_disk(&rig));
    rig.until("rolled-back");
    assert_eq!((rig.journal().format, rig.reason().as_str()), (1, "unhealthy"));
    assert!(rig.journal().memory.blamed.contains_key(&v2().payload.sha256));
    assert_eq!(rig.world.lock().epochs.len(), 1, "the numbering of reports goes on");
    // The next update begins where the confirmed slot runs: from here on it is this agent's own format.
    let fixed = TestRelease::new("2.0.1");
    rig.world.offer(&fixed);
    rig.until("confirmed");
    assert_eq!(rig.journal().format, FORMAT);
    rig.assert_confirmed(&fixed, Slot::B);
}

/// As N+1 may write it: what is known here, and fields, words and kinds that are not.
fn as_a_newer_agent_would(journal: &mut Value) {
    journal["format"] = json!(FORMAT + 1);
    journal["boot_counter"] = json!({ "a": 3, "b": [1, 2] });
    journal["state"]["attempt"] = json!({ "number": 2 });
    journal["memory"]["suspects"] = json!(["till-2"]);
    let digest = |n: u8| format!("{n:02x}").repeat(32);
    let reason = json!({ "code": "seen", "text": "by a newer agent" });
    let blamed = json!({ "version": "1.9.0", "reason": reason, "at": "2027-01-01T00:00:00Z", "by": "somebody" });
    journal["memory"]["blamed"][digest(1)] = blamed;
    journal["memory"]["blamed"][digest(2)] = json!({ "since": "another shape" });
    let then = json!("when-a-person-says-so");
    let setback = json!({ "count": 1, "serial": 100, "at": "2027-01-01T00:00:00Z", "then": then, "reason": reason });
    journal["memory"]["setbacks"][digest(3)] = setback;
    journal["artifacts"][digest(4)] = json!({ "held_by": "another engine" });
    let unknown = json!({ "at": "2027-01-01T00:00:00Z", "report": { "kind": "weather", "terminal": "till-1" } });
    journal["reports"]["priority"] = json!(1);
    journal["reports"]["waiting"].as_array_mut().unwrap().push(unknown);
}

/// N installs N+1, which is confirmed; then the machine falls back to the slot with N, which goes on with what it knows.
#[test]
fn after_a_newer_agent_was_confirmed_the_one_before_goes_on() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("confirmed");
    rig.turns(3);
    assert_eq!(on_disk(&rig)["format"], FORMAT, "N to N+1: N+1 finds the format of N");
    let before = rig.journal();
    rewrite(&mut rig, as_a_newer_agent_would);
    rig.turns(3);
    let journal = rig.journal();
    assert_eq!(
        (on_disk(&rig)["format"].as_u64(), journal.format),
        (Some(u64::from(FORMAT)), FORMAT),
        "written back as N"
    );
    assert_eq!((&journal.state, journal.floor), (&before.state, before.floor));
    assert_eq!(journal.memory.confirmed, before.memory.confirmed);
    let blamed: Vec<_> = journal.memory.blamed.values().map(|b| b.version.to_string()).collect();
    assert_eq!(blamed, ["1.9.0"], "what is known of failed releases counts");
    assert_eq!(
        journal.memory.setbacks.values().next().map(|s| s.retry),
        Some(Retry::NextPlan),
        "an unknown word is caution"
    );
    assert_eq!(journal.artifacts.keys().collect::<Vec<_>>(), before.artifacts.keys().collect::<Vec<_>>());
    assert!(!on_disk(&rig).to_string().contains("boot_counter"), "dropped on purpose");
    assert_eq!(rig.world.lock().epochs.len(), 1, "no number was lost: the numbering goes on");
    // And N+1 once more: it finds a journal of N.
    let v3 = TestRelease::new("3.0.0");
    rig.world.offer(&v3);
    rig.until_that("3.0.0 confirmed", |rig| rig.world.running() == Slot::A && rig.state() == "confirmed");
    rig.assert_confirmed(&v3, Slot::A);
}

#[test]
fn a_state_that_only_a_newer_agent_knows_is_none_and_the_machine_settles() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("confirmed");
    rig.turns(3);
    rewrite(&mut rig, |journal| {
        as_a_newer_agent_would(journal);
        journal["state"] = json!({ "state": "rehearsing", "update": journal["state"]["update"], "act": 2 });
        // It had numbered a report of a kind that is not known here.
        let report = json!({ "kind": "weather", "terminal": "till-1", "sky": "blue" });
        journal["reports"]["sent"] = json!([{ "seq": 4000, "at": "2027-01-01T00:00:00Z", "report": report }]);
        journal["reports"]["next"] = json!(4001);
    });
    rig.turns(3);
    assert_eq!((rig.state(), rig.journal().format), ("idle", FORMAT));
    assert_eq!(rig.world.running(), Slot::B);
    let fixed = TestRelease::new("2.1.0");
    rig.world.offer(&fixed);
    rig.until("confirmed");
    rig.assert_confirmed(&fixed, Slot::A);
    let world = rig.world.lock();
    assert_eq!(world.epochs.len(), 2, "a report that can never be sent is no gap for ever: numbered anew");
    assert!(world.reports.iter().all(|n| n.seq < 4000));
}

/// Written by hand, whole: what a later agent is to be able to count on.
const NEWER: &str = r#"{
  "format": 3,
  "schema": { "name": "agent-3" },
  "state": {
    "state": "rolled-back", "total": 5, "phase": "after",
    "update": {
      "serial": 9, "product": "kiosk", "version": "2.0.0", "channel": "stable", "target": "B",
      "manifest": "1111111111111111111111111111111111111111111111111111111111111111",
      "payload": { "name": "rootfs", "sha256": "2222222222222222222222222222222222222222222222222222222222222222",
                   "length": 100, "kind": "delta" },
      "artifact": { "sha256": "3333333333333333333333333333333333333333333333333333333333333333", "length": 50,
                    "index_sha256": "4444444444444444444444444444444444444444444444444444444444444444",
                    "index_length": 10, "info_hash": "5555555555555555555555555555555555555555" }
    },
    "verdict": { "reason": { "code": "fell-back", "text": "it fell", "where": "initramfs" }, "then": "ask" },
    "evidence": { "slot": "B", "boots": [{ "id": "x", "screen": "picture.png" }] }
  },
  "since": "2031-05-06T07:08:09Z",
  "trouble": { "count": 1, "bounded": true, "verdict": { "reason": { "code": "x", "text": "y" }, "then": "later" } },
  "waiting": { "code": "x", "text": "y", "until": "2031-05-06T07:08:09Z" },
  "memory": { "confirmed": { "A": "6666666666666666666666666666666666666666666666666666666666666666" },
              "blamed": {}, "setbacks": {} },
  "floor": 9,
  "announced": { "boot_id": "b", "slot": "A", "version": "1.0.0", "kernel": "6.12" },
  "facts": null,
  "artifacts": {},
  "newest": "2031-05-06T07:08:09Z",
  "reports": {
    "epoch": "7f2c1a52-0000-4000-8000-000000000001", "next": 8, "window": 4,
    "sent": [{ "seq": 7, "at": "2031-05-06T07:08:09Z", "trace": "abc",
               "report": { "kind": "running", "terminal": "till-1", "slot": "A", "version": "1.0.0", "kernel": "6.12" } }],
    "waiting": [{ "at": "2031-05-06T07:08:09Z", "report": { "kind": "weather" } }]
  }
}"#;

#[test]
fn a_journal_of_the_next_format_is_read_for_what_is_known_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.json");
    write(&path, NEWER);
    let journal = load(&path).unwrap().unwrap();
    let State::RolledBack { update, verdict, evidence, .. } = &journal.state else { panic!("{:?}", journal.state) };
    assert_eq!((update.serial, update.target), (9, Slot::B));
    assert_eq!((verdict.reason.code.as_str(), verdict.retry), ("fell-back", Retry::NextPlan));
    assert_eq!(*evidence, None, "of another shape");
    assert_eq!((journal.format, journal.floor), (FORMAT, 9));
    assert!(journal.memory.confirmed.contains_key(&Slot::A));
    assert_eq!(journal.announced.as_ref().map(|a| a.boot_id.as_str()), Some("b"));
    assert_eq!(journal.trouble.as_ref().map(|t| t.count), Some(1));
    let mut reports = journal.reports.clone();
    let batch = reports.batch(200).unwrap();
    assert_eq!(batch.epoch.to_string(), "7f2c1a52-0000-4000-8000-000000000001");
    let numbers: Vec<_> = batch.reports.iter().map(|n| n.seq).collect();
    assert_eq!(numbers, [7]);
    assert!(matches!(batch.reports[0].report, Report::Running { .. }));
    assert!(!reports.number(200), "what is not known is not sent");
}

#[test]
fn a_journal_of_two_formats_later_is_refused_with_a_sentence_and_left_alone() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("assigned");
    rewrite(&mut rig, |j| j["format"] = json!(FORMAT + 2));
    let before = std::fs::read(rig.settings.paths.journal()).unwrap();
    let path = rig.settings.paths.journal();
    assert!(matches!(load(&path), Err(JournalError::TooFar { found, .. }) if found == FORMAT + 2));
    let refused = Agent::new(rig.ports(), rig.settings.clone()).err().expect("it was taken").to_string();
    assert!(
        refused.contains("has format 4, this agent knows 1 to 2, and 3 as far as it can: boot the slot"),
        "{refused}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
    write(&path, r#"{ "format": 0 }"#);
    assert!(matches!(load(&path), Err(JournalError::TooFar { found: 0, .. })));
    write(&path, r#"{ "format": 3, "reports": [] }"#);
    assert!(matches!(load(&path), Err(JournalError::Damaged { .. })));
}

/// The other files of the state folder, as a newer agent may leave them.
#[test]
fn what_a_newer_agent_adds_to_plan_identity_and_trust_stops_nobody() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("confirmed");
    rig.turns(3);
    rig.cut(Cut::Process);
    let state = &rig.settings.paths.state_dir;
    for (name, format) in [("plan.json", 2), ("trust.json", 1)] {
        let mut content: Value = serde_json::from_slice(&std::fs::read(state.join(name)).unwrap()).unwrap();
        content["format"] = json!(format);
        content["later"] = json!({ "field": [1] });
        write(&state.join(name), &content.to_string());
    }
    let identity = std::fs::read_to_string(state.join("identity.toml")).unwrap();
    write(&state.join("identity.toml"), &format!("later = \"field\"\n{identity}"));
    let certified = rig.world.lock().certified.len();
    // Without a branch server it goes on with the plan that it accepted.
    rig.world.lock().branch_up = false;
    rig.turns(5);
    assert_eq!(rig.state(), "confirmed");
    rig.world.lock().branch_up = true;
    let v3 = TestRelease::new("3.0.0");
    rig.world.offer(&v3);
    rig.until_that("3.0.0 confirmed", |rig| rig.world.running() == Slot::A && rig.state() == "confirmed");
    rig.assert_confirmed(&v3, Slot::A);
    assert_eq!(rig.world.lock().certified.len(), certified, "it did not have to enrol again");
    let plan: Value = serde_json::from_slice(&std::fs::read(rig.settings.paths.accepted()).unwrap()).unwrap();
    assert_eq!(plan["format"], 1);
}
