use super::*;
use crate::model::update::Retry;
use wire::ReasonCode;
use wire::v1::reports::Reason;

fn record(seq: u64, slot: Slot, trial: bool, log: &str) -> EarlyRecord {
    EarlyRecord { boot_id: id(seq), slot, trial, seq, log: log.into() }
}

/// As the kernel writes it.
fn id(seq: u64) -> String {
    format!("{seq:08x}-0000-4000-8000-000000000000")
}

/// As the journal writes it.
fn bare(seq: u64) -> String {
    id(seq).replace('-', "")
}

fn trial(begun_in: Option<u64>, now: u64) -> FailedTrial {
    FailedTrial { slot: Slot::B, begun_in: begun_in.map(id), now: id(now) }
}

fn found(early: Option<Vec<EarlyRecord>>, journaled: &[u64]) -> Found {
    Found { early: Ok(early), journaled: Ok(journaled.iter().map(|seq| bare(*seq)).collect()) }
}

fn lines(evidence: &BootEvidence) -> Vec<&str> {
    evidence.lines.lines().collect()
}

#[test]
fn an_early_record_is_a_line_of_facts_and_a_log() {
    let text = format!("filial-boot 1 slot=B boot_id={} trial=1 seq=41 later=word\n[0.0] Linux\n[1.0] end\n", id(7));
    let expected = EarlyRecord { boot_id: id(7), ..record(41, Slot::B, true, "[0.0] Linux\n[1.0] end\n") };
    assert_eq!(EarlyRecord::parse(text.as_bytes()), Some(expected));
    let cut = format!("filial-boot 1 slot=B boot_id={} trial=0 seq=4", id(7));
    assert_eq!(EarlyRecord::parse(cut.as_bytes()).map(|r| (r.trial, r.log.len())), Some((false, 0)));
    for odd in [
        "",
        "\n",
        "filial-boot 2 slot=B boot_id=ID trial=1 seq=1\n",
        "filial-boot 1 slot=C boot_id=ID trial=1 seq=1\n",
        "filial-boot 1 slot=B boot_id=../etc trial=1 seq=1\n",
        "filial-boot 1 slot=B boot_id=ID0 trial=1 seq=1\n",
        "filial-boot 1 slot=B boot_id=ID trial=1 seq=-1\n",
        "filial-boot 1 slot=B boot_id=ID trial=1\n",
        "filial-boot 1 slot=B trial=1 seq=1\n",
        "\u{0}\u{0}\u{0}",
    ] {
        let odd = odd.replace("ID", &id(7));
        assert_eq!(EarlyRecord::parse(odd.as_bytes()), None, "{odd:?}");
    }
    assert_eq!(EarlyRecord::parse(b"filial-boot 1 \xff\n"), None);
}

#[test]
fn the_failed_boots_lie_between_the_one_that_began_and_the_present_one() {
    let records = vec![
        record(9, Slot::A, false, "now"),
        record(4, Slot::B, true, "of an earlier trial"),
        record(8, Slot::B, true, "second"),
        record(5, Slot::A, false, "began"),
        record(7, Slot::B, true, "first"),
        record(6, Slot::A, false, "the bootloader ignored the trial once"),
    ];
    let found = found(Some(records), &[]);
    let failed = found.last_failed(&trial(Some(5), 9)).unwrap();
    assert_eq!((failed.boot_id, failed.tried), (&id(8)[..], 2));
    // The record of the boot that began is gone: only the last in a row are known to be of this trial.
    let failed = found.last_failed(&trial(Some(3), 9)).unwrap();
    assert_eq!((failed.boot_id, failed.tried), (&id(8)[..], 2));
    // The present boot has no record, as when the old slot's initramfs keeps none.
    assert_eq!(found.last_failed(&trial(Some(5), 77)).unwrap().tried, 2);
    let none = found.last_failed(&trial(Some(8), 9)).unwrap_err();
    assert!(none.contains("name none of slot B since the update was activated"), "{none}");
}

#[test]
fn without_a_record_of_the_beginning_a_boot_of_the_slot_that_was_no_trial_is_not_taken() {
    let records = vec![record(1, Slot::B, false, "when B was confirmed"), record(2, Slot::A, false, "now")];
    assert!(found(Some(records), &[]).last_failed(&trial(None, 2)).is_err());
}

#[test]
fn without_early_records_the_systems_journal_names_the_boots() {
    let by = |begun: Option<u64>, now: u64, boots: &[u64]| {
        found(None, boots).last_failed(&trial(begun, now)).map(|f| (f.boot_id.to_owned(), f.tried))
    };
    assert_eq!(by(Some(1), 4, &[0, 1, 2, 3, 4]), Ok((bare(3), 2)));
    assert_eq!(by(None, 4, &[0, 1, 2, 3, 4]), Ok((bare(3), 1)), "only the one right before");
    for (begun, now, boots, why) in [
        (Some(3), 4, &[1, 2, 3, 4][..], "knows of no boot between"),
        (Some(3), 4, &[4], "knows of no boot between"),
        (Some(3), 4, &[], "does not know the boot that runs now"),
        // The journal of another machine, as in a test on a workstation: nothing of it may leave the house.
        (Some(3), 4, &[1, 2, 3], "does not know the boot that runs now"),
    ] {
        let said = by(begun, now, boots).unwrap_err();
        assert!(said.contains(why) && said.starts_with("this machine keeps no early records"), "{said}");
    }
    // A boot of the other slot, by its early record, does not count as failed.
    let records = vec![record(3, Slot::A, false, ""), record(4, Slot::A, false, "")];
    let failed = found(Some(records), &[1, 2, 3, 4]);
    assert_eq!(failed.last_failed(&trial(Some(1), 4)).map(|f| f.boot_id.to_owned()), Ok(bare(2)));
}

#[test]
fn the_journals_lines_go_before_the_kernels_and_their_absence_is_said() {
    let early = record(8, Slot::B, true, "kernel 1\nkernel 2\n");
    let failed = Failed { boot_id: &early.boot_id, tried: 2, early: Some(&early) };
    let of = |journal| evidence(Slot::B, &failed, journal);
    let by_journal = of(Ok(b"unit failed\npower off\n"));
    assert_eq!((by_journal.tried, by_journal.boot_id.as_ref().map(Word::as_str)), (2, Some(&id(8)[..])));
    assert_eq!(by_journal.source.as_ref().map(Word::as_str), Some(JOURNAL));
    assert_eq!((lines(&by_journal), &by_journal.note), (vec!["unit failed", "power off"], &None));
    let by_kernel = of(Ok(b"\n"));
    assert_eq!(by_kernel.source.as_ref().map(Word::as_str), Some(KERNEL));
    assert_eq!(lines(&by_kernel), ["kernel 1", "kernel 2"]);
    assert!(by_kernel.note.unwrap().as_str().contains("journal did not start"));
    let not_asked = of(Err("journalctl is not there"));
    assert!(not_asked.note.unwrap().as_str().contains("could not be asked (journalctl is not there)"));
    let empty = EarlyRecord { log: Vec::new(), ..early.clone() };
    let nothing = evidence(Slot::B, &Failed { early: Some(&empty), ..failed.clone() }, Ok(b""));
    assert_eq!((nothing.source, nothing.lines.is_empty()), (None, true));
    assert!(nothing.note.unwrap().as_str().starts_with("no log of the failed boot was kept: "));
}

#[test]
fn a_verdict_that_explains_itself_stays_as_it_is() {
    let none = nothing(Slot::B, "x");
    let fell = Verdict::new(Reason::new(ReasonCode::FellBack, "slot B never confirmed"), Retry::Never);
    assert_eq!(
        attached(fell.clone(), &none, false).reason.text,
        "Slot B never confirmed. No start of the slot is on record, as when its kernel is damaged and the bootloader \
         refuses it."
    );
    let unhealthy = Verdict::new(Reason::new(ReasonCode::Unhealthy, "no paper"), Retry::Never);
    assert_eq!(attached(unhealthy.clone(), &none, true), unhealthy);
}

#[test]
fn a_slot_in_which_the_agent_ran_is_not_said_to_have_no_start_on_record() {
    let none = nothing(Slot::B, "x");
    let fell = Verdict::new(Reason::new(ReasonCode::FellBack, "The agent ran in slot B."), Retry::Later);
    assert_eq!(attached(fell, &none, true).reason.text, "The agent ran in slot B. No log of the failed boot was kept.");
}
