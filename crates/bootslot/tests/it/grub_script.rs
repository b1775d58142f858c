//! scripts/grub.cfg as real GRUB runs it (package grub-emu), for every state and every fault.

use std::fs;

use bootslot::{BootSlots, BootState, GrubEnv, Verified, read_block};
use fleet_types::Slot;
use fleet_types::Slot::{A, B};

use crate::support::grub::{Case, Verdict, judge};
use crate::support::states;

/// The block that our backend writes for `state`.
fn block(state: &BootState) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let env = GrubEnv::new(dir.path().join("grubenv"));
    env.create(&BootState::settled(A)).unwrap();
    env.write(state).unwrap();
    fs::read(&env.path).unwrap()
}

fn trial(left: u8) -> BootState {
    BootState::settled(A).start_trial(B, left).unwrap()
}

fn one(case: Case) -> Verdict {
    judge(&[case]).remove(0)
}

/// The console as words: GRUB breaks its lines at spaces.
fn says(verdict: &Verdict, sentence: &str) -> bool {
    verdict.console.split_whitespace().collect::<Vec<_>>().join(" ").contains(sentence)
}

#[test]
fn every_state_boots_as_its_value_says_and_leaves_that_value() {
    let all = states();
    let cases: Vec<Case> = all.iter().map(|state| Case::of(block(state))).collect();
    for ((state, case), verdict) in all.iter().zip(&cases).zip(judge(&cases)) {
        let (slot, after) = state.boot();
        let counted = after != *state;
        assert_eq!(verdict.started, Some((slot, counted)), "{state:?}: {}", verdict.console);
        assert_eq!(verdict.loads.len(), 1, "{state:?}");
        let bytes = verdict.after.unwrap();
        assert_eq!(read_block(&bytes), Ok(after), "{state:?}");
        assert!(counted || Some(bytes) == case.block, "{state:?}: a confirmed boot writes nothing");
    }
}

/// Both blocks as our backend leaves them with these marks.
fn marked(default: Slot, verified: Verified) -> (Vec<u8>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let env = GrubEnv::new(dir.path().join("grubenv"));
    env.create(&BootState::settled(default)).unwrap();
    env.mark(default, verified).unwrap();
    (fs::read(&env.path).unwrap(), fs::read(env.copy()).unwrap())
}

#[test]
fn a_slot_that_is_not_verified_is_not_fallen_back_to() {
    for default in Slot::ALL {
        let other = default.other();
        let case = |verified, broken: &[Slot]| {
            let (block, copy) = marked(default, verified);
            Case { copy: Some(copy), broken: broken.to_vec(), ..Case::of(block) }
        };
        let cases = [
            case(Verified::only(default), &[]),
            case(Verified::BOTH, &[default]),
            case(Verified::only(other), &[default]),
            case(Verified::only(default), &[default]),
            case(Verified::default(), &[default]),
            // The default starts whatever its mark: the mark governs falling back only.
            case(Verified::default(), &[]),
        ];
        let verdicts = judge(&cases);
        let started: Vec<_> = verdicts.iter().map(|v| v.started.map(|(slot, _)| slot)).collect();
        assert_eq!(started, [Some(default), Some(other), Some(other), None, None, Some(default)]);
        for (case, verdict) in cases.iter().zip(&verdicts) {
            assert_eq!(verdict.after, case.block, "a confirmed boot writes nothing");
        }
        let said = format!("filial: slot {other} is not verified and is not started");
        assert!(says(&verdicts[3], &said) && verdicts[3].restarted, "{}", verdicts[3].console);
    }
}

#[test]
fn a_default_that_fails_its_sums_is_started_unchecked_before_a_slot_that_is_not_verified() {
    let (block, copy) = marked(A, Verified::only(A));
    let case = Case { copy: Some(copy), sums: true, flipped: vec![A], ..Case::of(block) };
    let verdict = one(case.clone());
    assert_eq!(verdict.started, Some((A, false)), "{}", verdict.console);
    assert!(says(&verdict, "filial: no slot is sound; starting slot A, unchecked"), "{}", verdict.console);
    // Without marks, as an older agent leaves it, the other slot is taken as before.
    let verdict = one(Case { block: Some(block_of_an_older_agent(A)), copy: None, ..case });
    assert_eq!(verdict.started, Some((B, false)), "{}", verdict.console);
}

fn block_of_an_older_agent(default: Slot) -> Vec<u8> {
    block(&BootState::settled(default))
}

#[test]
fn a_script_from_before_marks_boots_a_marked_block_as_it_boots_any_other() {
    let mut cases = Vec::new();
    for default in Slot::ALL {
        for verified in [Verified::default(), Verified::only(A), Verified::only(B), Verified::BOTH] {
            let (block, copy) = marked(default, verified);
            let case = Case { copy: Some(copy), before: true, ..Case::of(block) };
            cases.extend([case.clone(), Case { broken: vec![default], ..case }]);
        }
    }
    for (at, (case, verdict)) in cases.iter().zip(judge(&cases)).enumerate() {
        let default = if at < 8 { A } else { B };
        let slot = if case.broken.is_empty() { default } else { default.other() };
        assert_eq!(verdict.started, Some((slot, false)), "{case:?}: {}", verdict.console);
        assert_eq!(verdict.after, case.block, "a confirmed boot writes nothing");
    }
}

#[test]
fn without_a_usable_block_its_copy_says_what_was_confirmed_and_verified() {
    let (whole, copy) = marked(B, Verified::only(B));
    let mut zeroed = whole.clone();
    zeroed[..512].fill(0);
    for block in [None, Some(vec![]), Some(whole[..30].to_vec()), Some(zeroed)] {
        let case = |copy: &[u8], broken: &[Slot]| Case {
            block: block.clone(),
            copy: Some(copy.to_vec()),
            broken: broken.to_vec(),
            ..Case::of([])
        };
        let both = marked(B, Verified::BOTH).1;
        // A copy of an older agent, or a damaged one, is none; nor is one tried by.
        let unmarked = block_of_an_older_agent(B);
        let on_trial = self::block(&BootState::settled(B).start_trial(A, 7).unwrap());
        let cases = [
            case(&copy, &[]),
            case(&copy, &[B]),
            case(&both, &[B]),
            case(&unmarked, &[]),
            case(&on_trial, &[]),
            case(&copy[..30], &[]),
        ];
        let verdicts = judge(&cases);
        let started: Vec<_> = verdicts.iter().map(|v| v.started).collect();
        let plain = |slot| Some((slot, false));
        assert_eq!(started, [plain(B), None, plain(A), plain(A), plain(A), plain(A)], "{}", verdicts[0].console);
    }
}

#[test]
fn it_says_what_it_does() {
    let cases = [Case::of(block(&trial(3))), Case::of(block(&trial(2))), Case::of(block(&trial(1)))];
    for (verdict, left) in judge(&cases).iter().zip(["2 attempts", "1 attempt", "0 attempts"]) {
        assert!(says(verdict, &format!("filial: trying slot B, {left} left")), "{}", verdict.console);
    }
    assert!(says(&one(Case::of(block(&trial(1).boot().1))), "filial: the trial of slot B has no attempts left"));
}

#[test]
fn a_kernel_that_cannot_be_loaded_makes_way_for_the_next_slot() {
    let broken = |state: BootState, broken: &[Slot]| Case { broken: broken.to_vec(), ..Case::of(block(&state)) };
    let cases = [
        broken(trial(2), &[B]),
        broken(BootState::settled(A), &[A]),
        broken(BootState::settled(B), &[B]),
        broken(trial(1).boot().1, &[A]),
        broken(trial(2), &[A, B]),
        broken(BootState::settled(A), &[A, B]),
    ];
    let verdicts = judge(&cases);
    let loads: Vec<_> = verdicts.iter().map(|v| v.loads.as_slice()).collect();
    let plain = |slots: [Slot; 2]| slots.map(|s| (s, false));
    assert_eq!(loads[0], [(B, true), (A, false)]);
    assert_eq!(read_block(verdicts[0].after.as_ref().unwrap()), Ok(trial(1)), "the attempt was spent");
    assert_eq!(loads[1], plain([A, B]));
    assert_eq!(loads[2], plain([B, A]));
    assert_eq!(loads[3], plain([A, B]), "without attempts, but nothing else starts");
    assert_eq!(loads[4], [(B, true), (A, false)], "what was tried in vain is not taken uncounted");
    for (at, verdict) in verdicts.iter().enumerate() {
        assert_eq!(verdict.restarted, at >= 4, "{at}: {}", verdict.console);
        assert_eq!(verdict.started.is_some(), at < 4, "{at}");
    }
    assert!(says(&verdicts[5], "filial: no slot starts; restarting in 0 seconds"), "{}", verdicts[5].console);
    let no_initrd = one(Case { no_initrd: true, ..Case::of(block(&BootState::settled(A))) });
    assert_eq!((no_initrd.loads.as_slice(), no_initrd.restarted), (&plain([A, B])[..], true));
}

#[test]
fn a_slot_that_does_not_agree_with_its_sums_makes_way_for_the_next_one() {
    let flipped =
        |state: BootState, flipped: &[Slot]| Case { sums: true, flipped: flipped.to_vec(), ..Case::of(block(&state)) };
    let cases = [
        flipped(trial(2), &[]),
        flipped(trial(2), &[B]),
        flipped(trial(2), &[A]),
        flipped(BootState::settled(A), &[A]),
        flipped(BootState::settled(B), &[A, B]),
        Case { sums: false, ..flipped(BootState::settled(B), &[A, B]) },
    ];
    let verdicts = judge(&cases);
    let started = verdicts.iter().map(|v| v.started.unwrap()).collect::<Vec<_>>();
    assert_eq!(started, [(B, true), (A, false), (B, true), (B, false), (B, false), (B, false)]);
    // A kernel that is not sound is not even loaded, but for when there is no other.
    assert!(verdicts.iter().all(|v| v.loads.len() == 1 && !v.restarted));
    assert_eq!(read_block(verdicts[1].after.as_ref().unwrap()), Ok(trial(1)), "the attempt was spent");
    let damaged = "filial: slot B is damaged: its kernel or initramfs is not what was written";
    assert!(says(&verdicts[1], damaged), "{}", verdicts[1].console);
    assert!(says(&verdicts[4], "filial: no slot is sound; starting slot B, unchecked"), "{}", verdicts[4].console);
    // Without the file there is nothing to look at.
    let missing = Case { broken: vec![B], ..flipped(trial(2), &[]) };
    assert_eq!(one(missing).loads, [(B, true), (A, false)]);
}

#[test]
fn an_attempt_that_cannot_be_counted_is_not_made() {
    let case = Case { savable: false, ..Case::of(block(&trial(3))) };
    let verdict = one(case.clone());
    assert_eq!(verdict.started, Some((A, false)), "{}", verdict.console);
    assert_eq!(verdict.after, case.block);
    assert!(says(&verdict, "filial: the attempt cannot be counted, so slot B is not tried"), "{}", verdict.console);
}

#[test]
fn without_a_usable_block_the_safe_slot_is_begun_with() {
    for safe in Slot::ALL {
        let good = block(&trial(3));
        let mut zeroed = good.clone();
        zeroed[..512].fill(0);
        let blocks = [None, Some(vec![]), Some(vec![0; 1024]), Some(good[..30].to_vec()), Some(zeroed)];
        let missing = |broken: &[Slot], block| Case { block, safe, broken: broken.to_vec(), ..Case::of([]) };
        let cases: Vec<Case> =
            blocks.into_iter().flat_map(|b| [missing(&[], b.clone()), missing(&[safe], b)]).collect();
        for (case, verdict) in cases.iter().zip(judge(&cases)) {
            let slot = if case.broken.is_empty() { safe } else { safe.other() };
            assert_eq!(verdict.started, Some((slot, false)), "{case:?}: {}", verdict.console);
            assert_eq!(verdict.after, case.block);
        }
    }
}

/// A block with these lines, as long as GRUB wants it.
fn lines(lines: &str) -> Vec<u8> {
    let mut bytes = format!("# GRUB Environment Block\n{lines}").into_bytes();
    bytes.resize(1024, b'#');
    bytes
}

#[test]
fn nonsense_tries_nothing_and_sets_nothing_else() {
    let (default, trial, left) = ("filial_default=B\n", "filial_trial=A\n", "filial_trial_left=3\n");
    let with_left = |value: &str| lines(&format!("{default}{trial}filial_trial_left={value}\n"));
    let blocks = [
        lines(default),
        lines(&format!("{default}{trial}")),
        lines(&format!("{default}{left}")),
        lines(&format!("{default}filial_trial=B\n{left}")),
        lines(&format!("{default}filial_trial=C\n{left}")),
        lines(&format!("{default}filial_trial=!\n{left}")),
        lines(&format!("{default}filial_trial=A B\n{left}")),
        lines(&format!("{default}filial_trial=(\nfilial_trial_left=-f\n")),
        with_left("03"),
        with_left("10"),
        with_left("-1"),
        with_left("3#"),
        with_left("$filial_safe"),
        with_left(&"9".repeat(500)),
    ];
    for (verdict, block) in judge(&blocks.clone().map(Case::of)).into_iter().zip(blocks) {
        assert_eq!(verdict.started, Some((B, false)), "{}: {}", String::from_utf8_lossy(&block), verdict.console);
        assert_eq!(verdict.after, Some(block));
    }
    // With an invalid default the trial is ignored too.
    let blocks = ["", "C", "AB", "a", "A "].map(|d| lines(&format!("filial_default={d}\nfilial_trial=B\n{left}")));
    for verdict in judge(&blocks.map(Case::of)) {
        assert_eq!(verdict.started, Some((A, false)), "{}", verdict.console);
    }
    // The block may set the three variables and no others.
    let stolen = "root=hd9\nprefix=(hd9)\nfilial_boot=halt\nfilial_slot_b=(hd9)\nfilial_kernel=/evil\nfilial_safe=A\n";
    let verdict = one(Case::of(lines(&format!("{stolen}{default}filial_trial=\nfilial_trial_left=0\n"))));
    assert_eq!(verdict.started, Some((B, false)), "{}", verdict.console);
}
