//! What is told of a boot that failed: its last lines, from either source, once, and despite kills.

use crate::support::release::{v1, v2};
use crate::support::world::boot_id;
use crate::support::{Cut, Port, Rig};
use fleet_types::{Slot, UpdateState};
use terminal_agent::ports::DropInEnd;
use wire::v1::evidence::{BootEvidence, JOURNAL, KERNEL, Word};
use wire::v1::reports::{Report, UpdateReport};

/// The slot on trial was booted as often as allowed, without an agent in it; now the old slot runs, and no agent yet.
fn fell_back() -> Rig {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until_that("the trial slot booted", |rig| rig.world.running() == Slot::B);
    rig.cut(Cut::Power);
    assert_eq!(rig.world.running(), Slot::B, "the second attempt");
    rig.cut(Cut::Power);
    assert_eq!(rig.world.running(), Slot::A, "the attempts are used up");
    rig
}

fn journaled(rig: &Rig, boots: &[(u64, &str)]) {
    let lines = boots.iter().map(|(boot, lines)| (boot_id(*boot), (*lines).to_owned()));
    rig.world.lock().journaled.extend(lines);
}

/// What the branch server was told of rolling back, once.
fn told(rig: &Rig) -> UpdateReport {
    let rolled_back = |report: &Report| match report {
        Report::Update { update, .. } if update.state == UpdateState::RolledBack => Some(update.clone()),
        _ => None,
    };
    let world = rig.world.lock();
    let mut all = world.reports.iter().filter_map(|n| rolled_back(&n.report));
    let (one, more) = (all.next().expect("not reported"), all.next());
    assert_eq!(more, None, "reported twice");
    one
}

fn evidence_of(mut rig: Rig) -> (UpdateReport, BootEvidence) {
    rig.until("rolled-back");
    rig.assert_on_old_slot(Slot::A);
    let told = told(&rig);
    let evidence = told.evidence.clone().expect("without evidence");
    assert!(evidence.proof.is_some());
    // Kept as well, for a technician at the machine.
    let kept = rig.journal().state.evidence().cloned().expect("not kept");
    assert_eq!(BootEvidence { proof: None, ..evidence.clone() }, kept);
    assert_eq!(rig.journal().format, 2);
    (told, evidence)
}

fn lines(evidence: &BootEvidence) -> Vec<&str> {
    evidence.lines.lines().collect()
}

#[test]
fn after_a_rollback_the_version_that_runs_is_confirmed_again_when_it_is_assigned() {
    let mut rig = Rig::new(&v1(), &v1());
    rig.until("confirmed");
    rig.world.lock().drop_ins.insert("2.0.0".into(), DropInEnd::Unhealthy);
    rig.world.offer(&v2());
    rig.until("rolled-back");
    rig.turns(20);
    assert_eq!(rig.state(), "rolled-back", "nothing else is ordered");
    rig.world.plan(&[&v1()]);
    rig.until("confirmed");
    rig.turns(20);
    let confirmed = |update: &UpdateReport| update.state == UpdateState::Confirmed;
    let told: Vec<_> = rig
        .world
        .lock()
        .reports
        .iter()
        .filter_map(|n| match &n.report {
            Report::Update { update, .. } if confirmed(update) => Some((update.serial, update.version.to_string())),
            _ => None,
        })
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1].0 > told[0].0 && told[1].1 == "1.0.0", "by the newer plan: {told:?}");
    rig.assert_on_old_slot(Slot::A);
}

#[test]
fn a_slot_whose_agent_never_ran_is_told_of_with_the_journal_of_its_last_boot() {
    let rig = fell_back();
    journaled(&rig, &[(2, "of the first attempt\n"), (3, "mounting data\n\u{1b}[31mfailed\n"), (4, "the old slot\n")]);
    let (told, evidence) = evidence_of(rig);
    assert_eq!((evidence.slot, evidence.tried), (Slot::B, 2));
    assert_eq!(evidence.boot_id.as_ref().map(Word::as_str), Some("boot-3"));
    assert_eq!((evidence.source.as_ref().map(Word::as_str), &evidence.note), (Some(JOURNAL), &None));
    assert_eq!(lines(&evidence), ["mounting data", "[31mfailed"]);
    let reason = told.reason.unwrap();
    let text = "Slot B with kiosk 2.0.0 was never confirmed: the terminal agent did not get as far as judging it, and \
                the bootloader went back. Trial 1 of 3 without a judgement: the release is tried again. The slot was \
                started 2 times, and the last lines of its log are attached.";
    assert_eq!((reason.code.as_str(), reason.text.as_str()), ("fell-back", text));
}

#[test]
fn a_boot_that_died_before_the_journal_began_is_told_of_with_its_kernels_lines() {
    let (_, evidence) = evidence_of(fell_back());
    assert_eq!((evidence.tried, evidence.source.as_ref().map(Word::as_str)), (2, Some(KERNEL)));
    assert_eq!(lines(&evidence), ["[    0.000000] Linux", "[    1.000000] kernel of boot 3"]);
    assert!(evidence.note.unwrap().as_str().contains("the system's journal did not start in that boot"));
}

#[test]
fn without_early_records_the_journal_says_which_boots_failed() {
    let rig = fell_back();
    rig.world.lock().early = None;
    journaled(&rig, &[(2, "first\n"), (3, "second\n"), (4, "the old slot\n")]);
    let (_, evidence) = evidence_of(rig);
    assert_eq!((evidence.tried, lines(&evidence)), (2, vec!["second"]));
}

#[test]
fn where_nothing_was_kept_that_is_said() {
    let rig = fell_back();
    rig.world.lock().early = None;
    let (told, evidence) = evidence_of(rig);
    assert_eq!((evidence.tried, evidence.boot_id, evidence.source), (0, None, None));
    assert!(evidence.lines.is_empty());
    let note = evidence.note.unwrap();
    assert!(
        note.as_str().starts_with("no log of the failed boot was kept: this machine keeps no early records"),
        "{note}"
    );
    assert!(told.reason.unwrap().text.contains(" No start of the slot is on record"));
}

#[test]
fn a_slot_that_the_bootloader_refused_is_not_said_to_have_been_started() {
    let rig = fell_back();
    rig.world.lock().early.as_mut().unwrap().retain(|record| record.slot == Slot::A);
    journaled(&rig, &[(4, "the old slot\n")]);
    let (told, evidence) = evidence_of(rig);
    assert_eq!((evidence.tried, evidence.boot_id), (0, None));
    let note = evidence.note.unwrap();
    assert!(note.as_str().contains("the early records of boots name none of slot B"), "{note}");
    let text = told.reason.unwrap().text;
    assert!(!text.contains("was started"), "{text}");
    assert!(
        text.ends_with(
            " No start of the slot is on record, as when its kernel is damaged and the bootloader refuses it."
        )
    );
}

#[test]
fn logs_that_cannot_be_read_keep_no_update_from_being_rolled_back() {
    let rig = fell_back();
    rig.world.fail(Port::BootLogs, u32::MAX);
    let (_, evidence) = evidence_of(rig);
    let note = evidence.note.unwrap();
    assert!(note.as_str().contains("no log can be read: told to fail"), "{note}");
}

#[test]
fn an_unhealthy_trial_keeps_its_own_reason_and_brings_the_log_too() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.world.lock().drop_ins.insert("2.0.0".into(), DropInEnd::Unhealthy);
    rig.until("trying");
    journaled(&rig, &[(2, "till[7]: no paper\n")]);
    let (told, evidence) = evidence_of(rig);
    assert_eq!(told.reason.as_ref().map(|r| r.code.as_str()), Some("unhealthy"));
    assert!(told.reason.unwrap().text.contains("10-printer failed: no paper"));
    assert_eq!((evidence.tried, lines(&evidence)), (1, vec!["till[7]: no paper"]));
}

#[test]
fn an_agent_that_ran_and_never_judged_is_not_said_to_have_never_run() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.world.lock().drop_ins.insert("2.0.0".into(), DropInEnd::NotYet);
    rig.until("trying");
    rig.cut(Cut::Power);
    rig.cut(Cut::Power);
    let (told, evidence) = evidence_of(rig);
    let text = told.reason.unwrap().text;
    assert!(text.contains("the terminal agent ran in it, but the machine restarted each time"), "{text}");
    assert_eq!(evidence.tried, 2);
}

#[test]
fn an_agent_that_ran_where_no_record_was_kept_is_not_said_to_have_no_start_on_record() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.world.lock().drop_ins.insert("2.0.0".into(), DropInEnd::NotYet);
    rig.until("trying");
    rig.cut(Cut::Power);
    rig.cut(Cut::Power);
    rig.world.lock().early = None;
    let (told, evidence) = evidence_of(rig);
    let text = told.reason.unwrap().text;
    assert_eq!(evidence.tried, 0);
    assert!(text.contains("the terminal agent ran in it") && !text.contains("on record"), "{text}");
    assert!(text.ends_with(" No log of the failed boot was kept."), "{text}");
}

#[test]
fn killed_anywhere_on_the_way_back_it_is_told_once_and_whole() {
    let points = |rig: &Rig| rig.world.kill.calls.load(std::sync::atomic::Ordering::SeqCst);
    let mut rig = fell_back();
    let begin = points(&rig);
    rig.until("rolled-back");
    rig.turns(3);
    let count = points(&rig) - begin;
    assert!(count > 5, "only {count} points");
    for point in 0..count {
        let mut rig = fell_back();
        journaled(&rig, &[(3, "last words\n")]);
        rig.world.kill.after(point);
        while rig.turn() {}
        rig.cut(Cut::Process);
        let (_, evidence) = evidence_of(rig);
        assert_eq!(lines(&evidence), ["last words"], "killed at point {point}");
    }
}
