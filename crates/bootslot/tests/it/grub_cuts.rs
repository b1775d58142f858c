//! Power cuts while the environment block is written: the write is cut at every byte, and real GRUB says what each
//! result boots.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use bootslot::{BLOCK_SIZE, BootSlots, BootState, GrubEnv, Trial, Verified};
use fleet_types::Slot;
use fleet_types::Slot::{A, B};

use crate::support::grub::{Case, Verdict, judge};
use crate::support::{put, run, text, transitions};

/// A write: what lay there, what was to lie there, and the slots that may be started without being counted: those
/// that were confirmed before or after.
struct Write {
    old: Vec<u8>,
    new: Vec<u8>,
    confirmed: Vec<Slot>,
}

impl Write {
    /// Everything that a cut can leave, and how many cuts leave it: a part of the new bytes in front, or, when the
    /// disk turned its two sectors around, the second sector alone.
    fn torn(&self) -> Vec<(Vec<u8>, usize)> {
        let mut all = vec![(self.old.clone(), 0)];
        for at in 0..=BLOCK_SIZE {
            // An unchanged byte gives the same result as the cut before it.
            if at > 0 && self.old.get(at - 1) != Some(&self.new[at - 1]) {
                all.push(([&self.new[..at], self.old.get(at..).unwrap_or_default()].concat(), 0));
            }
            if let Some((_, cuts)) = all.last_mut() {
                *cuts += 1;
            }
        }
        if self.old.len() == BLOCK_SIZE {
            all.push(([&self.old[..512], &self.new[512..]].concat(), 1));
        }
        all
    }
}

fn confirmed(old: &BootState, new: &BootState) -> Vec<Slot> {
    vec![old.default, new.default]
}

/// Every edit, as our backend writes it over the block that `begin` made.
fn writes(begin: impl Fn(&Path, &BootState)) -> Vec<Write> {
    let dir = tempfile::tempdir().unwrap();
    let env = GrubEnv::new(dir.path().join("grubenv"));
    let all = transitions().into_iter().map(|(old, new)| {
        begin(&env.path, &old);
        let before = fs::read(&env.path).unwrap();
        env.write(&new).unwrap();
        Write { old: before, new: fs::read(&env.path).unwrap(), confirmed: confirmed(&old, &new) }
    });
    all.collect()
}

fn ours(path: &Path, state: &BootState) {
    let _ = fs::remove_file(path);
    let env = GrubEnv::new(path);
    env.create(&BootState::settled(A)).unwrap();
    env.write(state).unwrap();
}

/// What each distinct block boots.
#[derive(Default)]
struct Bench {
    order: Vec<Vec<u8>>,
    known: HashMap<Vec<u8>, usize>,
    verdicts: Vec<Verdict>,
}

impl Bench {
    fn add(&mut self, block: Vec<u8>) {
        if !self.known.contains_key(&block) {
            self.known.insert(block.clone(), self.order.len());
            self.order.push(block);
        }
    }

    fn of(&self, block: &[u8]) -> &Verdict {
        &self.verdicts[self.known[block]]
    }
}

/// Judges every cut of every write. Returns how many there were, and how many different blocks they left. Where
/// `other_default`, a cut may also fall back on a confirmed slot that neither the old nor the new state would boot.
fn judge_all(writes: &[Write], other_default: bool) -> (usize, usize) {
    let mut bench = Bench::default();
    for write in writes {
        bench.add(write.old.clone());
        bench.add(write.new.clone());
        write.torn().into_iter().for_each(|(block, _)| bench.add(block));
    }
    let cases: Vec<Case> = bench.order.iter().map(|block| Case::of(block.clone())).collect();
    bench.verdicts = judge(&cases);
    let mut cuts = 0;
    for write in writes {
        let whole = [bench.of(&write.old), bench.of(&write.new)].map(|v| v.started.unwrap().0);
        for (block, times) in write.torn() {
            let verdict = bench.of(&block);
            let shown = || format!("{}\n{}", String::from_utf8_lossy(&block[..block.len().min(220)]), verdict.console);
            let (slot, counted) = verdict.started.unwrap_or_else(|| panic!("it boots neither slot: {}", shown()));
            assert_eq!(verdict.loads.len(), 1, "the first choice starts: {}", shown());
            let fallen_back = other_default && !counted;
            assert!(
                whole.contains(&slot) || fallen_back,
                "neither the old nor the new state boots {slot}: {}",
                shown()
            );
            assert!(counted || write.confirmed.contains(&slot), "{slot} was never confirmed: {}", shown());
            assert!(!counted || attempt_was_taken(&block, verdict), "a trial that costs nothing: {}", shown());
            cuts += times;
        }
    }
    (cuts, cases.len())
}

/// One digit went down by one and nothing else changed.
fn attempt_was_taken(before: &[u8], verdict: &Verdict) -> bool {
    let after = verdict.after.as_deref().unwrap();
    let changed: Vec<_> = before.iter().zip(after).filter(|(b, a)| b != a).collect();
    before.len() == after.len() && matches!(changed[..], [(b, a)] if b.is_ascii_digit() && *a == *b - 1)
}

#[test]
fn a_write_cut_at_any_byte_boots_one_of_the_two_slots() {
    let writes = writes(ours);
    let (cuts, blocks) = judge_all(&writes, false);
    println!(
        "grub: {} edits, {cuts} cuts, {blocks} different blocks, each booted by GRUB: 0 boot neither",
        writes.len()
    );
    assert!(cuts > 100_000, "{cuts} cuts are too few for {} edits", writes.len());
}

/// A settled state with marks, or what the boot state is on trial.
type Begin = Result<(Slot, Verified), BootState>;

/// Every write of marks, cut at every byte, and what falls back: only to a slot that was marked before or after, or where
/// neither says anything, as while a trial is there.
#[test]
fn marks_that_are_cut_at_any_byte_name_no_slot_that_is_not_verified() {
    let trial = |left| BootState::settled(A).start_trial(B, left).unwrap();
    let writes: [(Begin, (Slot, Verified)); 6] = [
        // Before the first write of slot B; of slot A.
        (Ok((A, Verified::BOTH)), (A, Verified::only(A))),
        (Ok((B, Verified::BOTH)), (B, Verified::only(B))),
        // An older agent's block, before the first write.
        (Err(BootState::settled(A)), (A, Verified::only(A))),
        // Confirmed, and back from a trial: with as many attempts as look like a mark.
        (Err(trial(7)), (B, Verified::BOTH)),
        (Err(trial(5)), (A, Verified::BOTH)),
        (Err(trial(7).boot().1), (A, Verified::BOTH)),
    ];
    let dir = tempfile::tempdir().unwrap();
    let env = GrubEnv::new(dir.path().join("grubenv"));
    let mut cuts = 0;
    for (old, (default, verified)) in writes {
        ours(&env.path, &old.map_or_else(|state| state, |(slot, _)| BootState::settled(slot)));
        if let Ok((slot, verified)) = old {
            env.mark(slot, verified).unwrap();
        }
        let before = fs::read(&env.path).unwrap();
        env.mark(default, verified).unwrap();
        let write = Write { old: before, new: fs::read(&env.path).unwrap(), confirmed: Slot::ALL.to_vec() };
        let torn = write.torn();
        let cases: Vec<Case> = torn.iter().map(|(block, _)| Case::of(block.clone())).collect();
        let sound: Vec<Slot> = judge(&cases).iter().map(|v| v.started.unwrap().0).collect();
        // A script from before marks makes the same first choice at every byte.
        let before_marks: Vec<Case> = cases.iter().map(|case| Case { before: true, ..case.clone() }).collect();
        let chosen: Vec<Slot> = judge(&before_marks).iter().map(|v| v.started.unwrap().0).collect();
        assert_eq!(chosen, sound, "from {old:?}");
        // Which slot is taken where the first choice does not start.
        let cases: Vec<Case> =
            cases.into_iter().zip(&sound).map(|(case, first)| Case { broken: vec![*first], ..case }).collect();
        for (verdict, (first, (block, times))) in judge(&cases).iter().zip(sound.iter().zip(&torn)) {
            let other = first.other();
            let before = old.map_or(true, |(_, verified)| verified.has(other));
            if verdict.started.is_some_and(|(slot, _)| slot == other) {
                let shown = String::from_utf8_lossy(&block[..220]);
                assert!(before || verified.has(other), "{other} is not verified: {shown}\n{}", verdict.console);
            }
            cuts += times;
        }
    }
    assert!(cuts > 6 * BLOCK_SIZE, "{cuts} cuts");
    println!("grub, marks: {} writes, {cuts} cuts: 0 fall back to a slot that is not verified", writes.len());
}

#[test]
fn so_does_one_that_moves_the_variables_of_others() {
    // grub-editenv wrote ours behind those of others; our first write puts ours in front.
    let writes = writes(|path, state| {
        let _ = fs::remove_file(path);
        run("grub-editenv", &[text(path), "create"]);
        let (trial, left) = state.trial.map_or((String::new(), 0), |t| (t.slot.to_string(), t.left));
        let (default, trial) = (format!("filial_default={}", state.default), format!("filial_trial={trial}"));
        let left = format!("filial_trial_left={left}");
        run("grub-editenv", &[text(path), "set", "saved_entry=0", "next_entry=", &default, &trial, &left]);
    });
    // Torn, a variable can be there twice. GRUB counts in the first and reads the last: the read-back of the script
    // finds that nothing was counted, and the default boots.
    let writes: Vec<Write> = writes.into_iter().step_by(9).collect();
    let (cuts, blocks) = judge_all(&writes, true);
    println!("grub, moved: {} edits, {cuts} cuts, {blocks} different blocks: 0 boot neither", writes.len());
}

#[test]
fn so_does_a_fresh_block_over_an_unusable_one() {
    let dir = tempfile::tempdir().unwrap();
    let env = GrubEnv::new(dir.path().join("grubenv"));
    let trial = BootState::settled(B).start_trial(A, 2).unwrap();
    ours(&env.path, &trial);
    let whole = fs::read(&env.path).unwrap();
    // Empty, cut off, zeroed by a sector, without default, and two of the blocks that an earlier cut leaves.
    let mut sector = whole.clone();
    sector[..512].fill(0);
    let torn = |at: usize| {
        ours(&env.path, &BootState::settled(B));
        [&whole[..at], &fs::read(&env.path).unwrap()[at..]].concat()
    };
    let at = String::from_utf8_lossy(&whole).find("filial_trial=A").unwrap() + "filial_trial=A".len();
    let mut olds = vec![vec![], whole[..100].to_vec(), vec![0; BLOCK_SIZE], sector, torn(at), torn(at + 5)];
    // And the block of another program, whose variables stay.
    let _ = fs::remove_file(&env.path);
    run("grub-editenv", &[text(&env.path), "create"]);
    run("grub-editenv", &[text(&env.path), "set", "saved_entry=0", "kernelopts=root=UUID=7 ro quiet"]);
    olds.push(fs::read(&env.path).unwrap());
    // What the helper puts in its place: the slot that runs, or, when that one was on trial, the other one.
    let spent = BootState { default: A, trial: Some(Trial { slot: B, left: 0 }) };
    let news = [BootState::settled(A), BootState::settled(B), spent];
    let mut writes = Vec::new();
    for old in &olds {
        for new in &news {
            put(&env.path, old);
            assert!(env.read().is_err(), "this block is usable: {}", String::from_utf8_lossy(old));
            env.create(new).unwrap();
            // Without a state the safe slot counts as confirmed; of the torn ones the default is B.
            let stated = old.len() == BLOCK_SIZE && String::from_utf8_lossy(old).contains("filial_default=B");
            let before = if stated { B } else { A };
            writes.push(Write {
                old: old.clone(),
                new: fs::read(&env.path).unwrap(),
                confirmed: vec![before, new.default],
            });
        }
    }
    let (cuts, blocks) = judge_all(&writes, false);
    println!("grub, fresh: {} writes, {cuts} cuts, {blocks} different blocks: 0 boot neither", writes.len());
}
